"""PgBouncer in transaction mode for tests: each transaction may run on another connection of the server."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.servers.postgres import PostgresServer, nobody
from tests.servers.process import ServerProcess
from tests.servers.program import NoServerError, Program, program_at

CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={server_port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
{settings}"""


def find_pgbouncer() -> Program:
    """The PgBouncer of the system.

    Raises:
        NoServerError: there is none.
    """
    path = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if path is None:
        raise NoServerError("no PgBouncer to start; `apt-get install pgbouncer`. Tried: the PATH, /usr/sbin")
    return program_at(Path(path))


class PgBouncer(ServerProcess):
    """Settings are those of pgbouncer.ini: `PgBouncer(program, postgres, default_pool_size=2)`."""

    def __init__(self, program: Program, postgres: PostgresServer, **settings: str | int) -> None:
        super().__init__(program, **settings)
        self._postgres = postgres

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def user(self) -> int | None:
        return nobody()  # it refuses to run as root, as PostgreSQL does

    def command(self) -> list[str | Path]:
        self.directory.chmod(0o755)
        configuration = self.directory / "pgbouncer.ini"
        settings = "".join(f"{name} = {value}\n" for name, value in self.settings.items())
        configuration.write_text(
            CONFIGURATION.format(server_port=self._postgres.port, port=self.port, settings=settings)
        )
        return [self.program.path, configuration]

    def is_ready(self) -> bool:
        return "process up: PgBouncer" in self.log()
