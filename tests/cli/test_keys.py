from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.cli.stored import CANARY, objects, run

from swisper_ctx.keys import KeyFile, new_key


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key file, which SWISPER_KEYS names."""
    path = tmp_path / "keys"
    assert run(path, "keygen", str(path)).exit_code == 0
    monkeypatch.setenv("SWISPER_KEYS", str(path))
    return path


def everything(store: Path) -> bytes:
    return b"".join(file.read_bytes() for file in store.parent.iterdir() if file.name.startswith(store.name))


def test_keygen_prints_a_key_or_puts_it_first(tmp_path: Path) -> None:
    printed = run(tmp_path, "keygen")
    assert len(printed.stdout.strip()) == 44
    path = tmp_path / "keys"
    first = run(tmp_path, "keygen", str(path))
    (key,) = KeyFile(path).keys()
    second = run(tmp_path, "keygen", str(path))
    assert KeyFile(path).keys()[1:] == (key,)
    assert (first.stdout, second.stdout) == ("", "")
    assert second.stderr == f"2 keys in {path}, the first is new\n"
    assert key not in first.output + second.output
    path.chmod(0o644)
    refused = run(tmp_path, "keygen", str(path))
    assert (refused.exit_code, "chmod 600" in refused.stderr) == (1, True)


def test_a_store_is_encrypted_read_and_rotated(store: Path, keys: Path) -> None:
    content = CANARY.encode()
    assert content in everything(store)
    refused = run(store, "show", "short")
    assert refused.exit_code == 1
    assert "plaintext stands where a sealed body is due" in refused.stderr
    sealed = run(store, "encrypt", "--json")
    (told,) = objects(sealed)
    assert sealed.exit_code == 0
    assert told["sessions"] == 2
    assert told["left"]["key 1"] > 4
    assert content not in everything(store)
    assert CANARY in run(store, "show", "--reveal", "short").stdout
    assert run(store, "verify").exit_code == 0
    exported = run(store, "export", "short").stdout
    assert run(store, "keygen", str(keys)).exit_code == 0
    assert run(store, "export", "short").stdout == exported
    rotated = run(store, "rotate")
    assert rotated.exit_code == 0
    assert rotated.stdout.endswith("2 sessions, everything is under key 1\n")
    new, old = KeyFile(keys).keys()
    keys.write_text(new)
    assert run(store, "export", "short").stdout == exported
    assert run(store, "checkpoint").exit_code == 0
    keys.write_text(old)
    lost = run(store, "rotate", "--json")
    assert lost.exit_code == 1
    left = objects(lost)[0]["left"]
    assert (left["key 1"], left["no key"] > told["left"]["key 1"]) == (0, True)
    assert not any(key in lost.output + rotated.output + sealed.output for key in (new, old))


def test_what_was_written_without_a_key_is_not_made_genuine(store: Path, keys: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.db"
    shutil.copy(store, before)
    assert run(store, "encrypt").exit_code == 0
    with closing(sqlite3.connect(store)) as file, file:
        file.execute("ATTACH ? AS before", (str(before),))
        file.execute("UPDATE frames SET body = (SELECT body FROM before.frames AS old WHERE old.id = frames.id)")
    refused = run(store, "encrypt")
    assert (refused.exit_code, "in the clear beside" in refused.stderr) == (1, True)
    assert "plaintext stands" in run(store, "show", "short").stderr
    assert run(store, "encrypt", "--resume").exit_code == 0
    assert run(store, "show", "short").exit_code == 0


def test_rotation_leaves_plaintext_and_tells(store: Path, keys: Path) -> None:
    result = run(store, "rotate", "--json")
    assert result.exit_code == 1
    left = objects(result)[0]["left"]
    assert left["plaintext"] > 4
    assert left["key 1"] == 0
    assert CANARY.encode() in everything(store)


def test_without_keys_nothing_is_sealed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWISPER_KEYS", raising=False)
    for command in ("rotate", "encrypt"):
        result = run(store, command)
        assert (result.exit_code, "SWISPER_KEYS" in result.stderr) == (2, True)


def test_keys_that_are_none_are_not_repeated(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    almost = new_key()[:-2] + "!="
    for value in (f"{new_key()},{almost}", almost):
        monkeypatch.setenv("SWISPER_KEYS", value)
        result = run(store, "show", "short")
        assert result.exit_code in (1, 2)
        assert not any(part in result.output for part in value.split(","))


def test_a_session_that_is_damaged_is_left_and_told(store: Path, keys: Path) -> None:
    assert run(store, "encrypt").exit_code == 0
    with closing(sqlite3.connect(store)) as file, file:
        file.execute("UPDATE frames SET body = zeroblob(100) WHERE version = 2 AND session = 1")
    result = run(store, "rotate", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["left"]["no key"] == 1
    verified = run(store, "verify")
    assert verified.exit_code == 1
    assert "frame 2 of session long: no key opens it" in verified.stdout
    assert verified.stdout.endswith("2 sessions checked, 1 damaged\n")


def test_encrypted_sessions_are_listed_without_keys(store: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, "encrypt").exit_code == 0
    talk_before = run(store, "sessions").stdout
    monkeypatch.delenv("SWISPER_KEYS")
    assert run(store, "sessions").stdout == talk_before
