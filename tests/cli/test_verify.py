from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.stored import CANARY, change, flip, objects, of_session, run, run_process, talk

SEGMENT = "field = 'conversation_history' AND dropped_at IS NULL"


@pytest.fixture
def checkpointed(store: Path) -> Path:
    """The store with checkpoints of both sessions, so that every kind of block is there."""
    for session_id in ("short", "long"):
        assert run(store, "checkpoint", session_id).exit_code == 0
    return store


def problems(path: Path, *arguments: str) -> dict[str, list[str]]:
    result = run(path, "verify", "--json", *arguments)
    found = {each["session_id"]: each["problems"] for each in objects(result)}
    assert result.exit_code == any(found.values())
    assert [each["damaged"] for each in objects(result)] == [bool(each) for each in found.values()]
    return found


def test_a_whole_store_is_found_whole(checkpointed: Path) -> None:
    result = run(checkpointed, "verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "2 sessions checked, none damaged\n"
    assert run(checkpointed, "verify", "long").stdout == "1 session checked, none damaged\n"


def test_each_damaged_segment_is_named_and_the_other_session_is_fine(checkpointed: Path) -> None:
    flip(checkpointed, "blocks", f"{of_session('long')} AND {SEGMENT} AND records > 50")
    found = problems(checkpointed)
    assert found["short"] == []
    assert len(found["long"]) > 2
    assert all(text.startswith("segment ") and text.endswith("checksum does not match") for text in found["long"])
    assert problems(checkpointed, "short") == {"short": []}


@pytest.mark.parametrize(
    ("table", "where", "named"),
    [
        ("heads", "base > 0", "head 3 of session short"),
        ("blocks", "field = '' AND dropped_at IS NULL", "fields block"),
        ("blocks", SEGMENT, "segment"),
        ("frames", "version = 2", "frame 2 of session short"),
    ],
)
def test_damage_of_every_kind_is_named(checkpointed: Path, table: str, where: str, named: str) -> None:
    flip(checkpointed, table, f"{of_session('short')} AND {where}")
    found = problems(checkpointed)
    assert found["long"] == []
    assert [named in text for text in found["short"]] == [True]


@pytest.mark.parametrize(("table", "where"), [("heads", "base > 0"), ("blocks", "field = '' AND dropped_at IS NULL")])
def test_a_damaged_head_or_fields_block_hides_no_segment(checkpointed: Path, table: str, where: str) -> None:
    flip(checkpointed, table, f"{of_session('long')} AND {where}")
    flip(checkpointed, "blocks", f"{of_session('long')} AND {SEGMENT} AND records > 50")
    found = problems(checkpointed)["long"]
    assert len([text for text in found if text.startswith("segment ")]) > 2
    assert len([text for text in found if not text.startswith("segment ")]) == 1


def test_blocks_and_heads_of_older_checkpoints_are_opened(checkpointed: Path) -> None:
    talk(checkpointed, "short")
    assert run(checkpointed, "checkpoint", "short").exit_code == 0
    assert problems(checkpointed)["short"] == []
    flip(checkpointed, "blocks", f"{of_session('short')} AND dropped_at IS NOT NULL")
    flip(checkpointed, "heads", f"{of_session('short')} AND base = 3")
    found = problems(checkpointed)["short"]
    assert [text.split()[0] for text in found].count("head") == 1
    assert len(found) == 3


def test_blocks_of_an_older_checkpoint_in_another_order_are_found(checkpointed: Path) -> None:
    talk(checkpointed, "long")
    assert run(checkpointed, "checkpoint", "long").exit_code == 0
    where = f"{of_session('long')} AND dropped_at IS NOT NULL AND field = 'conversation_history'"
    assert change(checkpointed, f"UPDATE blocks SET position = -1 WHERE {where}") == 1
    assert [text.partition(": ")[2] for text in problems(checkpointed)["long"]] == [
        "its blocks are not those it was written with"
    ]


def test_a_block_of_another_kind_is_damage(checkpointed: Path) -> None:
    assert change(checkpointed, f"UPDATE blocks SET body = 'text' WHERE {of_session('short')} AND {SEGMENT}")
    assert any("wrong kind" in text for text in problems(checkpointed)["short"])


def test_a_frame_that_the_state_needs_is_named_once(store: Path) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    assert problems(store)["short"] == ["frame 2 of session short: the checksum does not match"]


def test_damage_in_all_sessions_is_found_in_all(store: Path) -> None:
    flip(store, "frames", "version = 2")
    assert [len(each) for each in problems(store).values()] == [1, 1]


def test_a_missing_version_is_found(checkpointed: Path) -> None:
    assert change(checkpointed, f"DELETE FROM frames WHERE {of_session('short')} AND version = 2") == 1
    assert problems(checkpointed)["short"] == ["frame 2 of session short: it is missing"]


def test_a_missing_head_does_not_end_it(store: Path) -> None:
    assert change(store, f"DELETE FROM heads WHERE {of_session('short')}") == 1
    found = problems(store)
    assert (found["short"], found["long"]) == (["session short: it has no head"], [])


def test_rows_of_another_session_are_found(store: Path) -> None:
    body = f"(SELECT body FROM frames WHERE {of_session('long')} AND version = 2)"
    assert change(store, f"UPDATE frames SET body = {body} WHERE {of_session('short')} AND version = 2") == 1
    assert problems(store)["short"] == ["frame 2 of session short: it belongs to another place"]


def test_text_names_the_damage_and_no_content(store: Path) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    result = run_process(store, "verify")
    assert (result.returncode, result.stderr) == (1, b"")
    assert result.stdout.decode().splitlines() == [
        "damaged: frame 2 of session short: the checksum does not match",
        "2 sessions checked, 1 damaged",
    ]
    assert CANARY not in result.stdout.decode()
