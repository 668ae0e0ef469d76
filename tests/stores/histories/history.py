"""What several processes did with sessions to which each only appends, and whether one store could have answered so.

A session is created without messages, and each version after the first appends one: a version says what is read at it,
and the log in the end says in which order all of it was done.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple


class Operation(NamedTuple):
    """A write of the message that bears its name, or a read. Times are nanoseconds on the monotonic clock."""

    name: str
    session: str
    is_write: bool
    staleness: int
    """A read may be so old, in nanoseconds."""
    invoked: int
    returned: int | None = None
    """None: nobody knows whether it was done."""
    version: int = 0
    messages: int = 0
    last: tuple[str, ...] = ()
    """The last messages that a read has shown."""

    def began(self) -> str:
        return json.dumps(self[:5])

    def ended(self) -> str:
        return json.dumps([self.name, *self[5:]])


def heard(paths: Iterable[Path]) -> list[Operation]:
    """The operations that processes have written down, each line as it happened."""
    operations = dict[str, Operation]()
    for path in paths:
        for name, *rest in map(json.loads, path.read_text().splitlines()):
            if name in operations:
                returned, version, messages, last = rest
                operations[name] = Operation(*operations[name][:5], returned, version, messages, tuple(last))
            else:
                operations[name] = Operation(name, *rest)
    return list(operations.values())


class Bounds:
    """The newest version that anybody had heard of at a time."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        known = sorted((one.returned, one.version) for one in operations if one.returned is not None)
        self._times = [time for time, _ in known]
        self._versions = [0, *accumulate((version for _, version in known), max)]

    def at(self, time: int) -> int:
        return self._versions[bisect_left(self._times, time)]


def violations(operations: Sequence[Operation], logs: Mapping[str, Sequence[str]]) -> list[str]:
    """Where the answers are not those of one store that does one thing after the other; `logs` is what is there."""
    found = []
    for session, log in logs.items():
        own = [one for one in operations if one.session == session]
        bounds = Bounds(own)
        versions = {name: version for version, name in enumerate(log, 2)}
        if len(versions) != len(log) or not versions.keys() <= {one.name for one in own if one.is_write}:
            found.append(f"{session}: its log holds what nobody has written, or something twice")
        found += [f"{session}: {wrong} ({one})" for one in own if (wrong := fault(one, log, versions, bounds))]
    return found


def fault(one: Operation, log: Sequence[str], versions: Mapping[str, int], bounds: Bounds) -> str:
    """What is wrong with one operation, if anything is."""
    if one.is_write:
        version = versions.get(one.name)
        if one.returned is not None and version != one.version:
            return f"acknowledged, and stands at {version}"
        return "older than what was known" if version is not None and version <= bounds.at(one.invoked) else ""
    if one.returned is None:
        return ""
    if one.messages != one.version - 1 or list(one.last) != list(log[: one.messages])[-len(one.last) or one.messages :]:
        return "shows what was never so"
    return "too old" if one.version < bounds.at(one.invoked - one.staleness) else ""
