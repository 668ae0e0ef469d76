"""A PostgreSQL server for tests, with its defaults of durability."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.servers.process import ServerFailedError, ServerProcess
from tests.servers.watchdog import watchdog


class PostgresServer(ServerProcess):
    """Settings are those of postgresql.conf: `PostgresServer(program, max_connections=10)`."""

    stop_signal = signal.SIGINT
    kill_signal = signal.SIGQUIT  # as after a crash: nothing is flushed, the next start recovers

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def prepare(self) -> None:
        self.directory.chmod(0o755)
        subprocess.run(["cp", "-a", _initialized(self.program.path), self.data], check=True)

    def user(self) -> int | None:
        return nobody()

    def command(self) -> list[str | Path]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 300,
            **self.settings,
        }
        program = _reachable(self.program.path)
        return [program, "-D", self.data, *(f"--{name}={value}" for name, value in settings.items())]

    def is_ready(self) -> bool:
        # As pg_ctl waits: the last line tells the state, the first one the process, which may be that of a copy.
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def nobody() -> int | None:
    """PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


@functools.cache
def _initialized(program: Path) -> Path:
    """A data directory that nothing has run on, made once and copied for each server."""
    user = nobody()
    directory = Path(tempfile.mkdtemp(prefix="initdb-", dir=watchdog().directory))
    if user is not None:
        os.chown(directory, user, user)
    initdb = _reachable(program).with_name("initdb")
    made = subprocess.run(
        [initdb, "-D", directory, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if made.returncode:
        raise ServerFailedError(f"{program}: initdb: {made.stderr}")
    return directory


@functools.cache
def _reachable(program: Path) -> Path:
    """The program, or a copy of its installation where the user that it runs as cannot reach it."""
    user = nobody()
    if user is None or _runs(program, user):
        return program
    installation = program.parents[2]  # the package: its libraries may lie beside it
    copies = Path(tempfile.mkdtemp(prefix="copy-", dir=watchdog().directory))
    copies.chmod(0o755)
    for path in installation.parent.glob(f"{installation.name}*"):
        if path.is_dir():
            shutil.copytree(path, copies / path.name, symlinks=True)
    return copies / program.relative_to(installation.parent)


def _runs(program: Path, user: int) -> bool:
    try:
        subprocess.run([program, "--version"], capture_output=True, check=True, user=user, group=user, extra_groups=[])
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
