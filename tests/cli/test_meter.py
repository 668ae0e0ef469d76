from __future__ import annotations

import os
from pathlib import Path

import pytest

from swisper_ctx.cli import meter
from swisper_ctx.cli.meter import meter_for

SIZE = 300_000


def write(path: Path) -> None:
    with path.open("wb") as file:
        file.write(os.urandom(SIZE))
        file.flush()
        os.fsync(file.fileno())


def test_what_is_written_counts_once(tmp_path: Path) -> None:
    counted = meter_for(tmp_path)
    before = counted.read()
    write(tmp_path / "file")
    assert SIZE <= counted.read() - before < 2 * SIZE


def test_without_proc_the_files_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "IO", tmp_path / "absent")
    counted = meter_for(tmp_path)
    before = counted.read()
    write(tmp_path / "file")
    write(tmp_path / "file")
    assert counted.read() - before == SIZE
    assert not counted.sees_overwriting
