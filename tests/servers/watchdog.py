"""Ends the servers of a test run when the run ends, also where it was killed, and removes their files.

Runs as a process of its own, which reads what is started and stopped. When its input ends, so has the run.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO


class Watchdog:
    """The process that watches this one, and the directory it removes at the end."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="swisper-servers-"))
        self.directory.chmod(0o755)  # PostgreSQL runs as another user where the tests run as root
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(self.directory)], stdin=subprocess.PIPE, start_new_session=True
        )
        atexit.register(self.close)

    def started(self, pid: int, kill_signal: int) -> None:
        self._tell(f"{pid} {kill_signal}\n")

    def stopped(self, pid: int) -> None:
        self._tell(f"{pid} 0\n")

    def _tell(self, line: str) -> None:
        self._input.write(line.encode())
        self._input.flush()

    def close(self) -> None:
        self._input.close()
        self._process.wait()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin


@functools.cache
def watchdog() -> Watchdog:
    """The one of this process, started when first asked for."""
    return Watchdog()


def watch(lines: IO[str], directory: Path) -> None:
    running: dict[int, int] = {}
    for line in lines:
        pid, kill_signal = map(int, line.split())
        running[pid] = kill_signal
    running = {pid: kill_signal for pid, kill_signal in running.items() if kill_signal}
    for pid, kill_signal in running.items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kill_signal)
    deadline = time.monotonic() + 10
    while any(map(is_running, running)) and time.monotonic() < deadline:
        time.sleep(0.02)
    shutil.rmtree(directory, ignore_errors=True)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watch(sys.stdin, Path(sys.argv[1]))
