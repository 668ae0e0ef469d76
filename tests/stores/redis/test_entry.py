"""Sessions as fields of a hash: what is read is what was written, or damage is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swisper_ctx.log import NEVER, Block, Change, Etag, Frame, Head, StoredSession
from swisper_ctx.stores.redis.entry import DamagedEntryError, Entry, etag_bytes, pack, pack_append
from swisper_ctx.stores.redis.writes import of_session

tokens = st.binary(min_size=16, max_size=16)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
times = st.integers(0, 2**62)
bodies = st.binary(max_size=40)


@st.composite
def sessions(draw: st.DrawFn) -> StoredSession:
    base, count = draw(st.integers(0, 2**40)), draw(st.integers(0, 5))
    frames = [
        Frame(base + 1 + at, draw(tokens), draw(st.none() | texts), draw(times), draw(st.none() | bodies))
        for at in range(count)
    ]
    etag = Etag(base + count, frames[-1].token if frames else draw(tokens))
    places = draw(st.lists(st.tuples(texts, st.integers(-(2**60), 2**60)), unique=True, max_size=6))
    ids = draw(st.lists(tokens, unique=True, min_size=len(places), max_size=len(places)))
    blocks = [
        Block(block_id, field, position, draw(st.integers(0, 2**31)), draw(bodies))
        for block_id, (field, position) in zip(ids, sorted(places), strict=True)
    ]
    about = draw(texts), draw(texts), etag, draw(times), draw(times), draw(times), draw(st.none() | times)
    return StoredSession(*about, Head(base, draw(tokens), draw(bodies)), tuple(blocks), tuple(frames))


@given(sessions())
def test_what_is_read_is_what_was_written(stored: StoredSession) -> None:
    entry = Entry(stored.session_id, pack(stored))
    assert entry.etag == stored.etag
    assert entry.session() == entry.session(is_tail=True) == stored
    assert entry.blocks() == stored.blocks
    assert stored.head is not None
    base = stored.head.base
    for after in range(base, stored.etag.version + 1):
        frames = tuple(frame for frame in stored.frames if frame.version > after)
        assert entry.session(after=after) == stored._replace(head=None, blocks=(), frames=frames)
    assert entry.session(after=base - 1) is None


@given(sessions(), st.data())
def test_any_damage_is_found(stored: StoredSession, data: st.DataObject) -> None:
    fields = pack(stored)
    field = data.draw(st.sampled_from(sorted(fields)))
    value = fields[field]
    kind = data.draw(st.sampled_from(["bit", "shorter", "longer", "gone", "elsewhere", "other"]))
    if kind == "bit":
        at, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 7))
        fields[field] = value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]
    elif kind == "shorter":
        fields[field] = value[: data.draw(st.integers(0, len(value) - 1))]
    elif kind == "longer":
        fields[field] = value + data.draw(st.binary(min_size=1, max_size=9))
    elif kind == "gone":
        del fields[field]
        if field[:1] == b"d":
            return  # a block that is not there at all: the number of blocks in the head tells
    elif kind == "elsewhere":
        other = data.draw(st.sampled_from(sorted(fields)))
        fields[field] = fields[other]
        if fields[field] == value:
            return
    session_id = stored.session_id + "!" if kind == "other" else stored.session_id
    with pytest.raises(DamagedEntryError):
        Entry(session_id, fields).session()


@given(sessions(), st.none() | texts, st.none() | times | st.just(NEVER), bodies)
def test_a_change_is_packed_as_what_the_store_makes_of_it(
    stored: StoredSession, change_id: str | None, expires_at: int | None, body: bytes
) -> None:
    etag = Etag(stored.etag.version + 1, b"new" + bytes(13))
    change = Change(stored.session_id, stored.user_id, stored.etag, etag, body, change_id, expires_at=expires_at)
    parent, state, field, frame, expiry = pack_append(change, 77)
    assert parent == etag_bytes(stored.etag)
    fields = {**pack(stored), b"e": state, field: frame, **({b"x": expiry} if expiry else {})}
    new = Frame(etag.version, etag.token, change_id, 77, body)
    expected = stored._replace(
        etag=etag, updated_at=77, expires_at=change.expiry(stored.expires_at), frames=(*stored.frames, new)
    )
    assert Entry(stored.session_id, fields).session() == expected
    assert pack(expected) == fields


def test_frames_of_another_lineage_are_damage() -> None:
    head = Head(0, bytes(16), b"head")
    frame = Frame(1, b"A" * 16, None, 0, b"")
    stored = StoredSession("s", "u", Etag(1, b"B" * 16), 0, 0, 0, None, head, (), (frame,))
    with pytest.raises(DamagedEntryError):
        Entry("s", pack(stored)).session()


def test_versions_and_tokens_are_compared_as_a_whole() -> None:
    assert etag_bytes(Etag(1, b"a")) != etag_bytes(Etag(1, b"b"))
    assert etag_bytes(Etag(1, b"")) != etag_bytes(Etag(1, bytes(16)))
    assert etag_bytes(Etag(256, b"a")) != etag_bytes(Etag(1, b"a"))


@pytest.mark.parametrize(
    "change",
    [
        {"head": None},
        {"created_at": 2**64},
        {"blocks": (Block(b"short", "f", 0, 0, b""),)},
        {"blocks": (Block(bytes(16), "f", 0, 0, None),)},
        {"frames": (Frame(1, b"t" * 300, None, 0, b""),)},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object]) -> None:
    head = Head(0, bytes(16), b"head")
    stored = StoredSession("s", "u", Etag(0, bytes(16)), 0, 0, 0, None, head, (), ())
    assert of_session(stored, 1_000) is not None
    assert of_session(stored._replace(**change), 1_000) is None  # type: ignore[arg-type]
