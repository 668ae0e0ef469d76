#!/bin/sh
# fuzz.sh SECONDS PYTHON runs the targets of rust/fuzz one after the other, for so many seconds in all.
# The pass that counts the branches taken, for which cargo-fuzz wants nightly Rust, is in stable Rust too.
# What was found stays in target/fuzz/found, what the next run goes on from in target/fuzz/corpus.
set -eu
cd "$(dirname "$0")/.."
targets="json patch envelope segment replay"

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# Where a target is named, these flags are not those of build scripts, which could not be linked with them.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --quiet --locked --release --target "$host" --manifest-path rust/fuzz/Cargo.toml --target-dir target

"$2" -m tests.fuzz_seeds target/fuzz/seeds
mkdir -p target/fuzz/found
for target in $targets; do
    mkdir -p "target/fuzz/corpus/$target"
    log=target/fuzz/$target.log
    "target/$host/release/$target" -max_total_time=$(($1 / 5)) -timeout=10 -rss_limit_mb=512 -verbosity=0 \
        -print_final_stats=1 -dict=rust/fuzz/json.dict -artifact_prefix="target/fuzz/found/$target-" \
        "target/fuzz/corpus/$target" "target/fuzz/seeds/$target" >"$log" 2>&1 || { tail -n 60 "$log"; exit 1; }
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: //p' "$log") inputs"
done
