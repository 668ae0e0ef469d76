"""What is not a token of this place under one of the keys is refused, and hurts nobody else."""

from __future__ import annotations

import base64
from itertools import combinations

import pytest
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from swisper_ctx import (
    CorruptSessionError,
    DecryptionError,
    Message,
    SessionNotFoundError,
    SwisperContext,
    dumps,
    serialize_context,
)
from swisper_ctx.errors import ContextError
from swisper_ctx.fernet import FernetKey
from swisper_ctx.keys import Keyring, new_key
from swisper_ctx.log import StoredBody
from swisper_ctx.stores.cache import SessionCache
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing.changes import folded

KEY, OTHER = new_key(), new_key()

SPECIFIED = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
INVALID = {
    "incorrect mac": (
        "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ=="
    ),
    "too short": "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==",
    "invalid base64": (
        "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q=="
    ),
    "payload size not multiple of block size": (
        "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm"
    ),
    "payload padding error": (
        "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw=="
    ),
    "incorrect IV": (
        "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ=="
    ),
}
"""invalid.json of the Fernet specification, without the two that are invalid by their age: nothing at rest ages."""


@pytest.mark.parametrize("name", INVALID)
def test_the_invalid_vectors_of_the_specification(name: str) -> None:
    with pytest.raises(DecryptionError, match="1 key tried"):
        EncryptedSessionStore(SPECIFIED).decrypt_context(INVALID[name].encode(), legacy=True)
    with pytest.raises(InvalidToken):
        Fernet(SPECIFIED).decrypt(INVALID[name].encode())


def test_the_vector_that_is_valid() -> None:
    token = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
    assert Keyring(SPECIFIED).open(base64.urlsafe_b64decode(token)) == b"hello"


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000, 70_000])
def test_tokens_are_those_of_cryptography(size: int) -> None:
    body, theirs = bytes(range(256)) * 300, MultiFernet([Fernet(KEY), Fernet(OTHER)])
    keyring, body = Keyring([KEY, OTHER]), body[:size]
    assert theirs.decrypt(base64.urlsafe_b64encode(keyring.seal(body))) == body
    assert keyring.open(base64.urlsafe_b64decode(Fernet(OTHER).encrypt(body))) == body
    assert keyring.number(Keyring(OTHER).seal(body)) == 1
    assert keyring.number(Keyring(new_key()).seal(body)) is None


def test_every_bit_of_a_token_counts_and_every_byte_of_its_length() -> None:
    key = FernetKey(base64.urlsafe_b64decode(KEY))
    token = key.seal(bytes(2000))
    assert key.open(token) == bytes(2000)
    for bit in range(8 * len(token)):
        flipped = bytearray(token)
        flipped[bit // 8] ^= 1 << bit % 8
        assert key.open(bytes(flipped)) is None, bit
    assert not any(key.open(token[:length]) for length in range(len(token)))
    assert key.open(token + bytes(16)) is None


async def two_sessions() -> tuple[EncryptedSessionStore, MemorySessionStore, list[SwisperContext]]:
    """With heads, blocks of fields, three segments and frames each."""
    inside = MemorySessionStore()
    store = EncryptedSessionStore(KEY, inside)
    contexts = [SwisperContext(session_id=name, user_id="u") for name in "ab"]
    for context in contexts:
        context.metadata["note"] = "private"
        for number in range(3):
            context.conversation_history.extend(
                [Message(role="user", content=f"{context.session_id} {number} " + "word " * 300) for _ in range(45)]
            )
            context.metadata["part"] = number
            await store.save_session(context)
            assert await folded(store, context)
        for number in range(2):
            context.metadata["number"] = number
            await store.save_session(context)
    return store, inside, contexts


async def in_use(store: MemorySessionStore, session_id: str) -> list[StoredBody]:
    stored = await store.read(session_id)
    assert stored is not None
    assert stored.head is not None
    found = [StoredBody("head", stored.head.stamp, stored.head.body)]
    found += [StoredBody("block", b.block_id, b.body) for b in stored.blocks if isinstance(b.body, bytes)]
    return found + [StoredBody("frame", frame.version, frame.body or b"") for frame in stored.frames]


async def read_whole(store: EncryptedSessionStore, session_id: str) -> dict[str, object]:
    context = await store.load_session(session_id)
    assert context is not None
    return serialize_context(context)


async def refused(store: EncryptedSessionStore, hurt: str, sound: str, expected: dict[str, object]) -> DecryptionError:
    with pytest.raises(DecryptionError) as caught:
        await read_whole(store, hurt)
    assert caught.value.session_id == hurt
    assert caught.value.block
    assert caught.value.block in str(caught.value)
    assert await read_whole(store, sound) == expected
    return caught.value


async def test_bodies_in_the_place_of_others_are_refused() -> None:
    store, inside, (a, b) = await two_sessions()
    expected, own, others = serialize_context(b), await in_use(inside, "a"), await in_use(inside, "b")
    assert {body.kind for body in own} == {"head", "block", "frame"}
    assert len(own) >= 6
    old = [body for body in await inside.bodies("a") if body not in own]
    assert {body.kind for body in old} == {"head", "block", "frame"}
    pairs = [(place, other) for place in own for other in [*own, *others, *old] if other.body != place.body]
    for place, other in pairs:
        assert await inside.replace("a", [(place, other.body)]) == 1
        error = await refused(store, "a", "b", expected)
        assert "another place" in error.problem
        assert error.keys == 1
        assert await inside.replace("a", [(place._replace(body=other.body), place.body)]) == 1
    assert await read_whole(store, "a") == serialize_context(a)


async def test_two_bodies_that_changed_places_are_refused() -> None:
    store, inside, (a, b) = await two_sessions()
    expected, own = serialize_context(b), await in_use(inside, "a")
    for one, other in combinations(own, 2):
        assert await inside.replace("a", [(one, other.body), (other, one.body)]) == 2
        await refused(store, "a", "b", expected)
        swapped = [(one._replace(body=other.body), one.body), (other._replace(body=one.body), other.body)]
        assert await inside.replace("a", swapped) == 2
    assert await read_whole(store, "a") == serialize_context(a)


@pytest.mark.parametrize("kind", ["wrong key", "plaintext", "foreign token", "context", "nothing"])
async def test_what_is_no_token_of_these_keys_is_refused(kind: str) -> None:
    store, inside, (a, b) = await two_sessions()
    expected = serialize_context(b)
    for body in await in_use(inside, "a"):
        envelope = Keyring(KEY).open(body.body)
        assert envelope is not None
        wrong = {
            "wrong key": Keyring(OTHER).seal(envelope),
            "plaintext": envelope,
            "foreign token": base64.urlsafe_b64encode(body.body),
            "context": base64.urlsafe_b64decode(store.encrypt_context(a)),
            "nothing": b"",
        }[kind]
        assert await inside.replace("a", [(body, wrong)]) == 1
        error = await refused(store, "a", "b", expected)
        assert ("plaintext" in error.problem) == (kind == "plaintext")
        assert await inside.replace("a", [(body._replace(body=wrong), body.body)]) == 1


async def test_without_the_key_nothing_is_read_and_with_both_everything() -> None:
    store, inside, _ = await two_sessions()
    lost = EncryptedSessionStore([OTHER, new_key()], inside)
    for reading in (lost.load_session("a"), lost.at_version("a", 1), lost.history("a"), lost.frames("a")):
        with pytest.raises(DecryptionError, match="2 keys tried"):
            await reading
    both = EncryptedSessionStore([OTHER, KEY], inside)
    context = await both.load_session("a")
    assert context is not None
    context.metadata["number"] = 3
    await both.save_session(context)
    found = await EncryptedSessionStore([KEY, OTHER], inside).load_session("a")
    assert found is not None
    assert serialize_context(found) == serialize_context(context)
    with pytest.raises(DecryptionError):
        await store.load_session("a")


async def test_another_user_in_the_row_is_refused() -> None:
    store, inside, _ = await two_sessions()
    inside._sessions["a"] = inside._sessions["a"]._replace(user_id="thief")
    with pytest.raises(CorruptSessionError, match="another user"):
        await store.load_session("a", user_id="thief")
    with pytest.raises(CorruptSessionError, match="another user"):
        await store.history("a", user_id="thief")
    with pytest.raises(SessionNotFoundError):
        await store.history("a", user_id="u")


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_another_user_in_the_row_is_told_nothing_through_a_cache(is_loaded: bool) -> None:
    store, inside, _ = await two_sessions()
    cache = SessionCache(store)
    if is_loaded:
        await cache.load_session("a")
    assert [info.version for info in await cache.history("a", user_id="u", after=3)] == [4, 5]
    inside._sessions["a"] = inside._sessions["a"]._replace(user_id="thief")
    with pytest.raises((CorruptSessionError, SessionNotFoundError)):
        await cache.history("a", user_id="thief")


async def test_another_epoch_is_refused() -> None:
    store, inside, (_, b) = await two_sessions()
    inside._sessions["a"] = inside._sessions["a"]._replace(epoch=1)
    error = await refused(store, "a", "b", serialize_context(b))
    assert "another place" in error.problem


@pytest.mark.parametrize("change", ["positions", "fields", "records", "a block less"])
async def test_rows_of_blocks_that_were_changed_are_refused(change: str) -> None:
    store, inside, (_, b) = await two_sessions()
    expected, session = serialize_context(b), inside._sessions["a"]
    rows = [row for row in session.blocks if row.block.records and row.dropped_at is None]
    first, second = rows[0].block, rows[1].block
    changed = {
        "positions": (first._replace(position=second.position), second._replace(position=first.position)),
        "fields": (first._replace(field="search_results"), second),
        "records": (first._replace(records=first.records - 1), second._replace(records=second.records + 1)),
        "a block less": (first, first),
    }[change]
    new = {first.block_id: changed[0], second.block_id: changed[1]}
    blocks = tuple(row._replace(block=new.get(row.block.block_id, row.block)) for row in session.blocks)
    inside._sessions["a"] = session._replace(blocks=blocks)
    with pytest.raises(ContextError, match="session a"):
        await read_whole(store, "a")
    assert await read_whole(store, "b") == expected


@pytest.mark.parametrize("legacy", [False, True])
def test_a_context_in_a_token_is_exactly_what_it_was(legacy: bool) -> None:
    store = EncryptedSessionStore(KEY)
    context = SwisperContext(user_id="u", metadata={"large": 10**5000, "float": 1.0, "nul": "\0", "text": "é"})
    context.conversation_history.append(Message("user", "hello"))
    token = Fernet(KEY).encrypt(dumps(context)) if legacy else store.encrypt_context(context)
    found = store.decrypt_context(token, legacy=legacy)
    assert serialize_context(found) == serialize_context(context)
    assert type(found.metadata["float"]) is float
