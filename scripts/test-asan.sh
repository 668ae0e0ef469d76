#!/bin/sh
# test-asan.sh PYTHON runs the tests of the binding under address sanitizer, with every object allocated by itself.
# The flag has yet to become stable; gcc's runtime serves what rustc compiles. The extension that is tested lies apart
# from that in the package.
set -eu
cd "$(dirname "$0")/.."
python=$1
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
    cargo build --quiet --locked --release --package swisper-py --target-dir target/asan --target "$host"

site=$PWD/target/asan/site
rm -rf "$site" && mkdir -p "$site" && cp -R python/swisper_ctx "$site" && rm -f "$site"/swisper_ctx/_core.*.so
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
cp "target/asan/$host/release/lib_core.so" "$site/swisper_ctx/_core$suffix"

# Left out: what measures memory, stack or speed, of which the sanitizer takes more.
ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYTHONPATH=$site LD_PRELOAD=$(gcc -print-file-name=libasan.so) \
    "$python" -m pytest --quiet -m "not servers" tests/stores tests/testing tests/test_*.py \
    --deselect=tests/test_dumps_recursion.py::test_calls_that_end \
    --deselect=tests/test_dumps_traces.py::test_no_dict_is_made_for_an_object \
    --deselect=tests/test_dumps_traces.py::test_encoding_takes_little_more_than_the_output \
    --deselect=tests/test_json_hostile.py::test_hostile_values \
    --deselect=tests/stores/sqlite/test_merge.py::test_every_acknowledged_message_is_there_once \
    --deselect=tests/stores/test_checkpointer.py::test_slow_checkpoints_do_not_let_the_log_grow
