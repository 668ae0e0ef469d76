"""What the server rolls back is tried again, or told as not written."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.stores.postgres.locks import assert_whole
from tests.stores.postgres.schemas import execute

from swisper_ctx import Message, StoreError, StoreUnavailableError, SwisperContext
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing.changes import append, commit, grow

pytestmark = pytest.mark.servers
# Raises an error as the server would, for the next so many statements: what a sequence gives is not rolled back.
FAULTS = (
    "CREATE SEQUENCE faults",
    """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('faults') <= {times} THEN RAISE EXCEPTION 'injected' USING ERRCODE = '{sqlstate}'; END IF;
        RETURN NEW;
    END $$""",
    "CREATE TRIGGER fail BEFORE INSERT ON context_frames FOR EACH ROW EXECUTE FUNCTION fail()",
)


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "55P03", "53100", "53200", "57014", "58030", "XX000"])
async def test_what_the_server_rolls_back_is_tried_again_or_told(
    store: PostgresSessionStore, url: str, sqlstate: str
) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    await store.save_session(context)
    for statement in FAULTS:
        await execute(url, statement.format(times=1, sqlstate=sqlstate))
    context.product_query = "fridge"
    if sqlstate in {"40001", "40P01", "55P03"}:
        await store.save_session(context)
    else:
        with pytest.raises(StoreError if sqlstate == "XX000" else StoreUnavailableError, match=sqlstate):
            await store.save_session(context)
        await store.save_session(context)
    loaded = await store.load_session("s")
    assert loaded is not None
    assert (loaded.version, loaded.product_query) == (2, "fridge")


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "55P03"])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_creation_that_the_server_rolls_back_is_tried_again(
    store: PostgresSessionStore, url: str, sqlstate: str, count: int
) -> None:
    for statement in FAULTS:
        await execute(url, statement.format(times=3, sqlstate=sqlstate))
    contexts = [SwisperContext(session_id=f"s{number}", user_id="u") for number in range(count)]
    await asyncio.gather(*map(store.save_session, contexts))
    assert [context.version for context in contexts] == [1] * count
    await assert_whole(url)


async def test_what_is_rolled_back_for_ever_is_told_of_soon(store: PostgresSessionStore, url: str) -> None:
    etag = await grow(store, "s", 1)
    for statement in FAULTS:
        await execute(url, statement.format(times=1_000, sqlstate="40001"))
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="40001"):
        await store.save_session(SwisperContext(session_id="t", user_id="u"))
    (result,) = await commit(store, append("s", etag))
    assert isinstance(result.error, StoreUnavailableError)
    assert time.monotonic() - began < 5
    await assert_whole(url)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_transactions_that_are_isolated_more_strictly(url: str, isolation: str) -> None:
    """By the settings of the server or of the role, which the store does not touch."""
    strict = f"{url}%20-cdefault_transaction_isolation%3D{isolation.replace(' ', '%5C%20')}"
    assert [tuple(row) for row in await execute(strict, "SHOW transaction_isolation")] == [(isolation,)]
    stores = [PostgresSessionStore(strict) for _ in range(3)]
    await stores[0].save_session(SwisperContext(session_id="s", user_id="u"))

    async def talk(store: PostgresSessionStore) -> None:
        context = await store.load_session("s")
        assert context is not None
        for _ in range(20):
            context.conversation_history.append(Message("user", "hello"))
            while True:
                try:
                    await store.save_session(context)
                    break
                except StoreUnavailableError:
                    await asyncio.sleep(0.01)

    await asyncio.gather(*map(talk, stores))
    loaded = await stores[0].load_session("s")
    assert loaded is not None
    assert len({message.message_id for message in loaded.conversation_history}) == 60 == loaded.version - 1
    await assert_whole(url)
    for store in stores:
        await store.aclose()
