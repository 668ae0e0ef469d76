"""The code map in CONTRIBUTING.md leads to every public name."""

from __future__ import annotations

import re
from pathlib import Path

import swisper_ctx

ROOT = Path(__file__).parents[1]


def code_map() -> list[tuple[list[str], list[str]]]:
    """The names and the paths of each row of the table."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## Code map")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [(re.findall(r"`([^`]+)`", concept), re.findall(r"`([^`]+)`", path)) for concept, path in rows[2:]]


def test_every_public_name_is_on_the_map() -> None:
    mapped = {name for names, _ in code_map() for name in names}
    assert set(swisper_ctx.__all__) - mapped == set()


def test_every_path_exists() -> None:
    assert [path for _, paths in code_map() for path in paths if not (ROOT / path).exists()] == []


def test_every_row_leads_somewhere() -> None:
    assert [names for names, paths in code_map() if not paths] == []


def test_public_names_stand_where_the_map_says() -> None:
    public = set(swisper_ctx.__all__)
    lost = [
        (name, paths)
        for names, paths in code_map()
        for name in public & set(names)
        if not any(name in (ROOT / path).read_text(encoding="utf-8") for path in paths if (ROOT / path).is_file())
    ]
    assert lost == []
