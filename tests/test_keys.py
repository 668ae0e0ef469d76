from __future__ import annotations

import base64
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from swisper_ctx import EncryptedSessionStore, Keyring, StoreError, StoreUnavailableError, SwisperContext
from swisper_ctx.keys import KeyFile, Keys, named_keys, new_key

WRONG = [b"", "", "x", b"\xff" * 44, "ü" * 44, base64.urlsafe_b64encode(bytes(31)), "A" * 42 + "=!", 7, None]


def test_a_key_is_bytes_or_str_and_one_or_several() -> None:
    key = new_key()
    token = Keyring(key).seal(b"x")
    for keys in (key, key.encode(), [new_key(), key], (key.encode(), new_key())):
        assert Keyring(keys).open(token) == b"x"
    for keys in (Fernet.generate_key(), [new_key(), new_key()]):
        assert Keyring(keys).open(token) is None


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_key_is_refused_without_being_repeated(wrong: object) -> None:
    keys: list[object] = [new_key(), wrong]
    with pytest.raises(ValueError, match="key 2 of 2 is no Fernet key") as caught:
        Keyring(keys)  # type: ignore[arg-type]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_no_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no key"):
        Keyring([])


def test_keys_stand_in_no_repr_and_no_traceback() -> None:
    key = new_key()
    store = EncryptedSessionStore([key, key])
    shown = [repr(store), repr(store.keyring()), repr(store.cipher), repr(vars(store))]
    with pytest.raises(ValueError, match="no Fernet key") as caught:
        EncryptedSessionStore([key, f"{key[:-2]}!="])
    shown.append("".join(traceback.format_exception(caught.value)))
    raw = base64.urlsafe_b64decode(key)
    for secret in (key, key[:20], raw.hex(), repr(raw)[2:-1], repr(raw[16:])[2:-1]):
        assert not any(secret in text for text in shown)
    assert shown[1] == "<Keyring of 2 keys>"


class Vault:
    def __init__(self, *keys: str) -> None:
        self.now: Sequence[str] = keys

    def keys(self) -> Sequence[str]:
        return self.now


async def test_a_provider_is_asked_at_each_load_and_save() -> None:
    old, new = new_key(), new_key()
    vault = Vault(old)
    store = EncryptedSessionStore(vault)
    context = SwisperContext(session_id="s", user_id="u")
    await store.save_session(context)
    vault.now = [new, old]
    context.metadata["now"] = 1
    await store.save_session(context)
    bodies = await store.bodies("s")
    keyring = Keyring([new, old])
    assert [keyring.number(body.body) for body in bodies] == [1, 1, 0]
    loaded = await store.load_session("s")
    assert loaded is not None
    assert loaded.metadata == {"now": 1}


async def test_a_provider_without_a_key_fails_the_save_and_nothing_was_written() -> None:
    vault = Vault(new_key())
    store = EncryptedSessionStore(vault)
    context = SwisperContext(session_id="s", user_id="u")
    good, vault.now = vault.now, ["no key"]
    with pytest.raises(StoreError, match="key 1 of 1 is no Fernet key") as caught:
        await store.save_session(context)
    assert type(caught.value) is StoreError
    assert await store.etags(["s"]) == {}
    vault.now = good
    await store.save_session(context)
    assert (await store.etags(["s"]))["s"] == context.etag


class BrokenVault:
    def __init__(self, error: Exception | None = None) -> None:
        self.key, self.error = new_key(), error

    def keys(self) -> list[str]:
        if self.error is not None:
            raise self.error
        return [self.key]


@pytest.mark.parametrize(
    ("error", "kind"), [(ConnectionError("vault"), StoreUnavailableError), (StoreError("sealed"), StoreError)]
)
async def test_a_provider_that_fails_fails_what_asked_it_and_nothing_was_written(
    error: Exception, kind: type[StoreError]
) -> None:
    vault = BrokenVault()
    store = EncryptedSessionStore(vault)
    context = SwisperContext(session_id="s", user_id="u")
    await store.save_session(context)
    context.metadata["now"] = 1
    vault.error = error
    for failing in (store.save_session(context), store.load_session("s")):
        with pytest.raises(StoreError) as caught:
            await failing
        assert type(caught.value) is kind
        assert error in (caught.value, caught.value.__cause__)
    assert (await store.etags(["s"]))["s"].version == 1
    vault.error = None
    await store.save_session(context)
    assert context.version == 2


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, second = new_key(), new_key()
    file = KeyFile(path)
    with pytest.raises(StoreError, match="cannot be read"):
        file.keys()
    file.put_first(first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert file.keys() == (first,)
    file.put_first(second)
    assert file.keys() == (second, first)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["keys"]
    for mode in (0o640, 0o604, 0o620, 0o601):
        path.chmod(mode)
        with pytest.raises(StoreError, match="chmod 600"):
            file.keys()


def test_a_key_file_may_have_comments_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path, key = tmp_path / "keys", new_key()
    path.touch(0o600)
    file = KeyFile(path)
    with pytest.raises(StoreError, match="has no key"):
        file.keys()
    path.write_text(f"# of November\n\n  {key}  \n")
    assert file.keys() == (key,)
    path.write_text(f"{new_key()}\n{key}\n")
    assert len(file.keys()) == 2


def test_a_key_is_put_first_and_the_rest_of_the_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, link, old, new = tmp_path / "real" / "keys", tmp_path / "keys", new_key(), new_key()
    real.parent.mkdir()
    real.touch(0o600)
    real.write_text(f"# of ops, until March\n{old}\n")
    link.symlink_to(real)
    synced = list[bool]()
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.path.sameopenfile(descriptor, directory))
        fsync(descriptor)

    directory = os.open(real.parent, os.O_RDONLY)
    monkeypatch.setattr(os, "fsync", spy)
    KeyFile(link).put_first(new)
    os.close(directory)
    assert synced == [False, True]
    assert link.is_symlink()
    assert real.read_text() == f"{new}\n# of ops, until March\n{old}\n"
    assert KeyFile(link).keys() == (new, old)


def test_a_key_is_put_into_an_empty_file(tmp_path: Path) -> None:
    path, key = tmp_path / "keys", new_key()
    path.touch(0o600)
    KeyFile(path).put_first(key)
    assert KeyFile(path).keys() == (key,)


def test_a_key_that_cannot_be_written_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, key = tmp_path / "keys", new_key()
    KeyFile(path).put_first(key)
    beside = tmp_path / "keys.new"
    beside.touch()
    with pytest.raises(StoreError, match=r"keys\.new is in the way"):
        KeyFile(path).put_first(new_key())
    beside.unlink()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot be written: .*No space"):
        KeyFile(path).put_first(new_key())
    assert [found.name for found in tmp_path.iterdir()] == ["keys"]
    assert KeyFile(path).keys() == (key,)
    with pytest.raises(StoreError, match="cannot be written"):
        KeyFile(tmp_path / "missing" / "keys").put_first(new_key())


@pytest.mark.parametrize("value", ["{0}", "{0},{1}", " {0} , {1} "])
def test_keys_by_name(value: str) -> None:
    keys = named_keys(value.format(new_key(), new_key()))
    assert isinstance(keys, list)
    assert len(Keyring(keys)) == value.count("{")


def test_anything_else_is_the_path_of_a_key_file(tmp_path: Path) -> None:
    KeyFile(tmp_path / "keys").put_first(new_key())
    keys: Keys = named_keys(str(tmp_path / "keys"))
    assert isinstance(keys, KeyFile)
    assert len(keys.keys()) == 1


def test_without_cryptography_the_error_names_the_extra(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\nimport swisper_ctx\nswisper_ctx.EncryptedSessionStore('x')"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)
    assert "StoreError: encryption needs cryptography: pip install 'swisper_ctx[encryption]'" in run.stderr


def test_the_package_imports_no_cryptography() -> None:
    script = "import sys, swisper_ctx, swisper_ctx.manager\nassert 'cryptography' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
