"""Counting the bytes that this process writes."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

IO = Path("/proc/self/io")
PROBE = 64 * 1024


class Meter(NamedTuple):
    """A running count of bytes written, and what exactly it counts."""

    counts: str
    read: Callable[[], int]
    sees_overwriting: bool = True
    """Whether bytes written over older ones count too."""


def meter_for(directory: Path) -> Meter:
    """The truest count that this machine has for files in `directory`."""
    if not IO.exists():
        return Meter("growth of the files", partial(growth, directory), sees_overwriting=False)
    if reaches_disk(directory):
        return Meter("bytes sent to the disk, by /proc/self/io", partial(counter, "write_bytes"))
    return Meter("bytes passed to write(), by /proc/self/io; this is no disk", partial(counter, "wchar"))


def counter(name: str) -> int:
    """One line of /proc/self/io."""
    for line in IO.read_text(encoding="ascii").splitlines():
        key, value = line.split(": ")
        if key == name:
            return int(value)
    raise LookupError(name)


def growth(directory: Path) -> int:
    """The size of all files in a directory."""
    return sum(entry.stat().st_size for entry in os.scandir(directory) if entry.is_file())


def reaches_disk(directory: Path) -> bool:
    """Whether the kernel counts what is written into this directory: it does not where files live in memory."""
    before, probe = counter("write_bytes"), directory / "probe"
    with probe.open("wb") as file:
        file.write(bytes(PROBE))
        file.flush()
        os.fsync(file.fileno())
    probe.unlink()
    return counter("write_bytes") - before >= PROBE
