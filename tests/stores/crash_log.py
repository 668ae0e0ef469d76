"""A process that is killed, what it said, and whether the store agrees."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from swisper_ctx.log import StoredSession
from swisper_ctx.stores.base import SessionStore

ROOT = Path(__file__).parents[2]
NAMES = [f"s{number}" for number in range(6)]


def body_of(name: str, version: int) -> bytes:
    """Content that tells of which session and version it is; of many sizes, so that pages break in many places."""
    size = 50 + version * 977 % 5_000
    return hashlib.shake_128(f"{name} {version}".encode()).digest(size)


def run_until_killed(
    url: str, *failpoint: str, program: str = "crash_child", begins: int = 0, delay: float = 0
) -> list[str]:
    """The lines of a process that dies at a failpoint, or `delay` seconds after it began something so many times."""
    command = [sys.executable, "-m", f"tests.stores.{program}", url, *failpoint]
    package = Path(sys.modules["swisper_ctx"].__path__[0]).parent
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True) as child:
        too_long = threading.Timer(60, child.terminate)
        too_long.start()
        for line in child.stdout or ():
            lines.append(line)
            begins -= line.startswith("begin")
            if begins == 0 and line.startswith("begin"):
                time.sleep(delay)
                child.kill()
        too_long.cancel()
    assert child.returncode == -signal.SIGKILL
    return lines


async def look(store: SessionStore) -> dict[str, StoredSession | None]:
    """What there is; the store is closed."""
    found = {name: await store.read(name) for name in NAMES}
    await store.aclose()
    return found


@dataclass
class Told:
    """What must be there (the last acknowledged etags) and what may be there (begun and never answered)."""

    acknowledged: dict[str, tuple[int, str]] = field(default_factory=dict)
    in_flight: dict[str, tuple[int, str]] = field(default_factory=dict)
    what: str = ""

    def hear(self, lines: Iterable[str]) -> None:
        """Take in the lines of one process; after them it is dead."""
        self.in_flight, self.what = {}, ""
        for line in lines:
            word, what, *places = line.split()
            etags = {name: (int(version), token) for name, version, token in (place.split(":") for place in places)}
            if word == "begin":
                self.in_flight, self.what = etags, what
                continue
            if what == "commit":
                self.acknowledged |= etags
            elif what == "delete":
                for name in etags:
                    self.acknowledged.pop(name, None)
            self.in_flight, self.what = {}, ""

    def allows(self, name: str, stored: StoredSession | None) -> bool:
        """Whether a session may look like this."""
        now = (stored.etag.version, stored.etag.token.hex()) if stored else None
        allowed = {self.acknowledged.get(name)}
        if name in self.in_flight:
            if self.what == "commit":
                allowed.add(self.in_flight[name])
            elif self.what == "delete":
                allowed.add(None)
        return now in allowed

    def check(self, found: dict[str, StoredSession | None]) -> bool:
        """Whether the process died between beginning something and hearing that it was done.

        What was found must be what it heard of; from here on it is what was acknowledged.
        """
        assert [name for name in NAMES if not self.allows(name, found[name])] == []
        assert [name for name, stored in found.items() if stored and not is_whole(name, stored)] == []
        self.acknowledged = {
            name: (stored.etag.version, stored.etag.token.hex()) for name, stored in found.items() if stored
        }
        return bool(self.in_flight)


def is_whole(name: str, stored: StoredSession) -> bool:
    """Whether the log leads from the head to the etag without a gap, with the content of each version."""
    assert stored.head is not None
    versions = list(range(stored.head.base + 1, stored.etag.version + 1))
    return (
        [frame.version for frame in stored.frames] == versions
        and all(frame.body == body_of(name, frame.version) for frame in stored.frames)
        and (not versions or stored.frames[-1].token == stored.etag.token)
        and [block.body for block in stored.blocks] == ([body_of(name, stored.head.base)] if stored.head.base else [])
    )
