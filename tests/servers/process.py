"""A server process: started, stopped, killed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.servers.program import Program
from tests.servers.watchdog import watchdog

START_SECONDS = 60


class ServerFailedError(Exception):
    """The server did not start or stop; the message has the end of its log."""


class ServerProcess(ABC):
    """A server on a port of its own of 127.0.0.1, with its files in a directory of its own.

    The port stays the same over `restart`.
    """

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    kill_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, program: Program, **settings: str | int) -> None:
        self.program = program
        self.settings = settings
        self.port = 0
        self.directory = Path(tempfile.mkdtemp(prefix=f"{program.product.lower()}-", dir=watchdog().directory))
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str | Path]: ...

    @abstractmethod
    def is_ready(self) -> bool: ...

    def prepare(self) -> None:  # noqa: B027 - most servers need nothing
        """What must be done once before the first start."""

    def user(self) -> int | None:
        """The user that the server runs as; `None`: that of the tests."""
        return None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def launch(self) -> None:
        """Starts it for the first time, on a port that nobody has."""
        self.prepare()
        for remaining in reversed(range(5)):
            self.port = free_port()
            try:
                self.start()
                break
            except ServerFailedError as error:
                if not remaining or "in use" not in str(error):
                    raise

    def start(self) -> None:
        """Returns when it answers.

        Raises:
            ServerFailedError: it ended, or does not answer within 60 s.
        """
        assert self._process is None, "the server is running"
        user = self.user()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
                start_new_session=True,  # Ctrl-C is for the tests, whose fixtures then stop the server
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        watchdog().started(self.pid, self.kill_signal)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            assert self._process is not None
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = self.log()
                self.kill()
                raise ServerFailedError(f"{self.program} {'ended' if ended else 'does not answer'}: {said[-4_000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """An orderly end; nothing if it is not running."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """An end without notice; nothing if it is not running."""
        self._end(self.kill_signal)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise ServerFailedError(f"{self.program} does not end: {self.log()[-4_000:]}") from None
        finally:
            watchdog().stopped(process.pid)

    def log(self) -> str:
        """What it wrote since it was started."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections.

    So it is still free after a restart.
    """
    for _ in range(1_000):
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerFailedError("no free port between 15,000 and 32,000")
