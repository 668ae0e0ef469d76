from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.cli.stored import fill


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "filled.db"
    fill(path)
    return path


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    """An SQLite file of its own with the sessions `short` and `long`."""
    return Path(shutil.copy(filled, tmp_path / "s.db"))
