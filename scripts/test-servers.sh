#!/bin/sh
# test-servers.sh PYTHON runs the tests marked `servers` on other versions than `make test` does, where those are here.
# PostgreSQL 17 and Valkey come as wheels; PostgreSQL 15 and Redis 7 are those of the system.
set -eu
python=$1
# What a version may answer differently: the long runs of many rounds belong to the full tests.
tests="tests/servers tests/stores/postgres tests/stores/redis
    --ignore=tests/stores/postgres/test_histories.py --ignore=tests/stores/postgres/test_crash.py
    --ignore=tests/stores/redis/test_machine.py --ignore=tests/stores/redis/test_crash.py
    --deselect=tests/stores/redis/test_store.py::TestOverSQLite
    --deselect=tests/stores/redis/test_store.py::TestFlushedAtRandom"
if [ "${SWISPER_FULL:-}" = 1 ]; then
    tests=tests
fi

is_here() {
    "$python" -c "from tests.servers.program import *; find_postgres('$1'), find_redis('$2')" 2>/dev/null
}

run_on() {
    echo "== PostgreSQL $1, Redis $2"
    # shellcheck disable=SC2086 - several words
    SWISPER_TEST_POSTGRES=$1 SWISPER_TEST_REDIS=$2 "$python" -m pytest --quiet -m servers \
        --numprocesses=auto --maxprocesses=4 --dist=worksteal $tests
}

run_on 17 valkey
if is_here 15 7; then
    run_on 15 7
else
    echo "== PostgreSQL 15 and Redis 7 are not installed here: not tested on them"
fi
