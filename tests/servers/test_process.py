"""Servers end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.servers.process import ServerFailedError
from tests.servers.program import Program
from tests.servers.redis import RedisServer
from tests.servers.watchdog import is_running

ROOT = Path(__file__).parents[2]
STARTS_SERVERS = """
import signal
from tests.servers.postgres import PostgresServer
from tests.servers.program import find_postgres, find_redis
from tests.servers.redis import RedisServer
from tests.servers.watchdog import watchdog

with PostgresServer(find_postgres()) as postgres, RedisServer(find_redis()) as redis:
    redis.restart()
    print(postgres.pid, redis.pid, watchdog().directory, flush=True)
    signal.pause()
"""
LONG = 20.0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_and_files_are_gone_after(how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_SERVERS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        *pids, directory = process.stdout.readline().split()
        assert all(is_running(int(pid)) for pid in pids)
        process.send_signal(how)
    deadline = time.monotonic() + LONG
    while os.path.exists(directory) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(directory)
    assert not any(is_running(int(pid)) for pid in pids)


def test_a_server_that_does_not_start_says_why(redis_program: Program) -> None:
    server = RedisServer(redis_program, maxmemory_policy="nonsense")
    with pytest.raises(ServerFailedError, match="maxmemory-policy"):
        server.launch()


def test_a_port_that_is_taken_is_not_used(redis_program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer(redis_program) as first:
        ports = iter([first.port, first.port + 1])
        monkeypatch.setattr("tests.servers.process.free_port", lambda: next(ports))
        with RedisServer(redis_program) as second:
            assert second.port == first.port + 1
            assert second.is_ready()
