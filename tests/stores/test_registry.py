from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.stores.changes import grow

from swisper_ctx.errors import StoreError
from swisper_ctx.stores import registry
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.registry import open_store, register
from swisper_ctx.stores.sqlite import SQLiteSessionStore


@pytest.fixture(autouse=True)
def own_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))


async def test_every_memory_store_is_a_new_one() -> None:
    one, other = open_store("memory://"), open_store("memory://", clock=lambda: 7)
    assert isinstance(one, MemorySessionStore)
    await grow(one, "s", 1)
    assert await other.etags(["s"]) == {}
    await grow(other, "s", 1)
    assert (await other.sessions()).sessions[0].created_at == 7


async def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///relative.db", f"sqlite:///{tmp_path}/absolute.db"):
        store = open_store(url, timeout=1.0)
        assert isinstance(store, SQLiteSessionStore)
        await grow(store, "s", 1)
        await store.aclose()
    assert sorted(os.listdir(tmp_path)) == ["absolute.db", "relative.db"]


@pytest.mark.parametrize(
    "url", ["mysql://user:swordfish@host/db", "user:swordfish@host", "", "sqlite", "sqlite:x", "://", "SWORDFISH://x"]
)
def test_an_unknown_scheme_lists_the_known_ones_and_nothing_of_the_url(url: str) -> None:
    with pytest.raises(StoreError, match="memory://, postgres://, postgresql://, shelve://, sqlite://") as caught:
        open_store(url)
    assert "swordfish" not in str(caught.value).lower()


def test_a_registered_scheme() -> None:
    register("other", "swisper_ctx.stores.memory:MemorySessionStore")
    with pytest.raises(StoreError, match="memory://"):
        open_store("other://x")
    register("memory", "swisper_ctx.stores.sqlite:SQLiteSessionStore")
    assert isinstance(open_store("memory:///x.db"), SQLiteSessionStore)


def test_a_store_whose_driver_is_absent() -> None:
    register("other", "no_such_driver.store:Store")
    with pytest.raises(StoreError, match=r"other://.*no_such_driver") as caught:
        open_store("other://user:swordfish@host")
    assert "swordfish" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize(("scheme", "target"), [("", "m:C"), ("A", "m:C"), ("a b", "m:C"), ("a", "m"), ("a", ":C")])
def test_what_cannot_be_registered(scheme: str, target: str) -> None:
    with pytest.raises(ValueError, match="module:Class"):
        register(scheme, target)


def test_stores_are_imported_when_their_urls_are_opened() -> None:
    program = "import sys, swisper_ctx.stores.registry; assert 'swisper_ctx.stores.sqlite' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
