"""What a killed process said, and whether the file agrees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from swisper_ctx.log import StoredSession

NAMES = [f"s{number}" for number in range(6)]


def body_of(name: str, version: int) -> bytes:
    """Content that tells of which session and version it is; of many sizes, so that pages break in many places."""
    size = 50 + version * 977 % 5_000
    return hashlib.shake_128(f"{name} {version}".encode()).digest(size)


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

    def agree(self, names: Iterable[str], found: dict[str, StoredSession | None]) -> None:
        """From here on, what is there is what was acknowledged."""
        self.acknowledged = {
            name: (stored.etag.version, stored.etag.token.hex()) for name in names if (stored := found[name])
        }


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
