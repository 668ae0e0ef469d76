"""Directories for databases, on the disk that the project is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from swisper_ctx.cli.meter import IO, reaches_disk

TARGET = Path(__file__).parents[1] / "target"


@contextmanager
def scratch() -> Iterator[Path]:
    """A new directory, removed at the end. Where files live in memory, nothing here means anything."""
    TARGET.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=TARGET, prefix="bench-") as name:
        directory = Path(name)
        assert not IO.exists() or reaches_disk(directory), f"{directory} is not on a disk"
        yield directory
