"""What was said stands nowhere in the files, the logs and the errors of a run, in no form that it is written in."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from pathlib import Path

import pytest

from swisper_ctx import ContextError, Message, PipelineSessionManager, Product, SwisperContext
from swisper_ctx.keys import new_key
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import folded

SAID = "canary-7b1f-Zürich"
MAGICS = {"an envelope": b"SWCX", "zstd": b"\x28\xb5\x2f\xfd"}


def forms(text: str) -> dict[str, bytes]:
    """The text as it is, in JSON, and within base64 at each of the three offsets."""
    plain = text.encode()
    encoded = {f"base64 from {n}": base64.b64encode(bytes(n) + plain)[4 if n else 0 : -4] for n in range(3)}
    return {"plain": plain, "JSON": json.dumps(text).encode()[1:-1], "hex": plain.hex().encode(), **encoded}


def found_in(content: bytes, key: str) -> list[str]:
    wanted = {**forms(SAID), "the key": key.encode(), "its bytes": base64.urlsafe_b64decode(key)}
    return [name for name, form in wanted.items() if form in content]


def test_the_forms_are_found_where_they_stand() -> None:
    for content in (SAID.encode(), json.dumps({"a": SAID}).encode(), base64.b64encode(b"some" + SAID.encode() + b"!!")):
        assert found_in(content, new_key())


async def live(url: str, key: str, cache: str | None = None) -> list[str]:
    """Turns, checkpoints, pipelines and conflicts; the texts of the errors."""
    errors = list[BaseException]()
    async with PipelineSessionManager.open(url, encryption_key=key, cache=cache) as sessions:
        context = await sessions.create_session(user_id="u", session_id="s", product_query=SAID)
        rival = await sessions.load_session_context("s")
        assert rival is not None
        for number in range(12):
            context.conversation_history.extend([Message(role="user", content=SAID * 40) for _ in range(20)])
            context.search_results.append(Product(product_id=SAID, name=SAID))
            context.metadata[SAID] = [SAID, number]
            try:
                async with sessions.pipeline(context, "search", input=SAID):
                    assert number % 3, SAID
            except AssertionError:
                pass
            await sessions.save(context)
            if number % 5 == 1:
                assert await folded(sessions.session_store, context)
        rival.product_query = rival.metadata[SAID] = SAID
        errors.append(await raised(sessions, rival))
    wrong = PipelineSessionManager.open(url, encryption_key=new_key(), cache=cache)
    errors.append(await unreadable(wrong.session_store))
    await wrong.aclose()
    plain = PipelineSessionManager.open(url, cache=cache)
    errors.append(await unreadable(plain.session_store))
    await plain.aclose()
    return ["".join(traceback.format_exception(error)) for error in errors]


async def raised(sessions: PipelineSessionManager[SwisperContext], context: SwisperContext) -> BaseException:
    with pytest.raises(ContextError) as caught:
        await sessions.save(context)
    return caught.value


async def unreadable(store: SessionStore) -> BaseException:
    with pytest.raises(ContextError) as caught:
        await store.load_session("s")
    return caught.value


@pytest.mark.parametrize("scheme", ["sqlite", "shelve"])
async def test_nothing_that_was_said_is_found(tmp_path: Path, scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = new_key()
    texts = await live(f"{scheme}:///{tmp_path}/sessions", key)
    files = contents(tmp_path)
    assert sum(map(len, files.values())) > 10_000
    for name, content in {**files, "log": caplog.text.encode(), "errors": "".join(texts).encode()}.items():
        assert found_in(content, key) == [], name
    # Four bytes may stand in random ones by chance, not several times.
    for magic in MAGICS.values():
        assert sum(content.count(magic) for content in files.values()) < 2


async def test_nothing_is_found_in_the_wal_of_a_store_that_is_open(tmp_path: Path) -> None:
    key = new_key()
    async with PipelineSessionManager.open(f"sqlite:///{tmp_path}/s.db", encryption_key=key) as sessions:
        context = await sessions.create_session(user_id="u", product_query=SAID)
        context.metadata["note"] = SAID
        await sessions.save(context)
        files = contents(tmp_path)
        assert any(name.endswith("-wal") and content for name, content in files.items())
        assert not any(found_in(content, key) for content in files.values())


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}
