"""Reading fields, one by one in any order and by columns, against what `json` makes of the record's text."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.test_record import FIELDS
from tests.values import CLASSES, RecordClass, identical, keys, values

from swisper_ctx import DecodeError, MemorySessionStore, Message, RecordList, SwisperContext
from swisper_ctx.log import Block, StoredSession
from swisper_ctx.stores.loaded import opened

TIMES = {"timestamp", "started_at", "finished_at"}
times = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.isoformat().replace("+00:00", "Z"))
texts = (
    st.text()
    | times
    | st.sampled_from(["2026-11-22T09:30:15+02:00", "2026-02-30T00:00:00Z"])
    | st.sampled_from(["x" * 63, "y" * 64, "Zürich " * 20, '"' * 70])
)
classes = st.sampled_from(CLASSES)


def sources(record_class: RecordClass) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(sorted(FIELDS[record_class]))
    return st.dictionaries(names | keys, texts | values, max_size=12)


def expected(source: dict[str, Any], name: str) -> Any:
    """The value of a field, or the class of the error."""
    value = source.get(name)
    if name not in TIMES or not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.utcoffset() is not None else DecodeError
    except (ValueError, OverflowError):
        return DecodeError


def read(record: Any, name: str) -> Any:
    try:
        return copy.deepcopy(getattr(record, name))
    except DecodeError:
        return DecodeError


@given(record_class=classes, data=st.data())
def test_fields_read_in_any_order_are_those_of_the_text(record_class: RecordClass, data: st.DataObject) -> None:
    record = record_class.from_dict(data.draw(sources(record_class)))
    source = json.loads(record.to_json())
    names = sorted(FIELDS[record_class])
    for name in data.draw(st.permutations(names)) + data.draw(st.lists(st.sampled_from(names))):
        assert identical(read(record, name), expected(source, name)), name


@given(record_class=classes, data=st.data())
def test_columns_are_those_of_the_texts(record_class: RecordClass, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(sources(record_class), max_size=4))
    history: Any = RecordList(record_class, drawn)
    names = data.draw(st.lists(st.sampled_from(sorted(FIELDS[record_class])), max_size=4))
    rows = [[expected(json.loads(record.to_json()), name) for name in names] for record in history]
    if any(value is DecodeError for row in rows for value in row):
        with pytest.raises(DecodeError):
            history.select(*names)
    else:
        found = [list(copy.deepcopy(row)) for row in history.select(*names)]
        assert identical(found, rows)


def test_columns_are_taken_from_segments_and_from_the_tail() -> None:
    history = RecordList(Message, [Message("user", f"{n} {'x' * 300}") for n in range(500)])
    assert history.select("content", "role") == [(message.content, "user") for message in history]
    assert history.select() == [()] * 500
    assert history.select("role", "role")[499] == ("user", "user")
    with pytest.raises(AttributeError, match="no field 'extra'"):
        history.select("extra")


def envelope(stored: StoredSession, block: Block, records: list[bytes]) -> bytes:
    """A segment with any text as its records."""
    ends = [sum(map(len, records[: n + 1])) + n + 1 for n in range(len(records))]
    payload = struct.pack(f"<I{len(ends)}I", len(ends), *ends) + b"".join(record + b"," for record in records)
    owner = stored.session_id.encode()
    header = b"SWCX" + bytes([1, 3, 0, len(owner)]) + struct.pack("<II", stored.epoch, len(payload)) + block.block_id
    return header + struct.pack("<I", zlib.crc32(header + owner + payload)) + owner + payload


async def stored_as(text: bytes) -> Message:
    """A record of a stored session whose text is this one."""
    store, context = MemorySessionStore(), SwisperContext()
    # So much that the frame is folded into blocks at once.
    context.conversation_history.extend(Message("user", token_hex(300)) for _ in range(400))
    await store.save_session(context)
    await store._checkpointer.settle()
    stored = await store.read(context.session_id)
    assert stored is not None
    blocks = list(stored.blocks)
    at = next(n for n, block in enumerate(blocks) if block.field == "conversation_history")
    records = [text] + [b"{}"] * (blocks[at].records - 1)
    blocks[at] = blocks[at]._replace(body=envelope(stored, blocks[at], records))
    return opened(stored._replace(blocks=tuple(blocks)), SwisperContext).conversation_history[0]


@pytest.mark.parametrize("order", [["role", "content", "name"], ["name", "content", "role"]])
async def test_of_a_key_that_stands_twice_the_first_counts(order: list[str]) -> None:
    record = await stored_as(b'{"role":"a","content":1,"role":"b","content":{"c":2},"\\u006eame":"n"}')
    found = {name: getattr(record, name) for name in order}
    assert found == {"role": "a", "content": 1, "name": None}
    assert RecordList(Message, [record]).select("content", "role", "name") == [(1, "a", None)]


async def test_what_is_wrong_behind_a_field_is_found_when_somebody_gets_there() -> None:
    record = await stored_as(b'{"role":"user","content":[1,],"name":"n","timestamp":"noon')
    assert record.role == "user"
    assert record.name == "n"
    assert record.role == "user"
    for _ in range(2):
        with pytest.raises(DecodeError):
            _ = record.content
        with pytest.raises(DecodeError):
            _ = record.metadata
    with pytest.raises(DecodeError):
        RecordList(Message, [record]).select("metadata")


@pytest.mark.parametrize("text", [b"[]", b"1", b'"x"', b"{", b'{"role"', b'{"role":"user', b'{"role":tru}'])
async def test_text_that_is_no_record_raises(text: bytes) -> None:
    record = await stored_as(text)
    with pytest.raises(DecodeError):
        _ = record.role
    if text[:1] == b"{" and text[-1:] != b"}":
        with pytest.raises(DecodeError):
            _ = record == Message("user")


def test_strings_that_are_shared_stay_what_they_are() -> None:
    # More than are kept at a time, and some that differ only in the middle.
    words = [f"{'a' * (n % 9)}{n}{'b' * (n % 9)}" for n in range(2_000)]
    for _ in range(2):
        for word in words:
            record = Message.from_dict({"role": word, "metadata": {word: word}})
            assert (record.role, record.metadata) == (word, {word: word})


def test_large_integers_are_exact() -> None:
    for digits in [1, 17, 18, 19, 20, 1023, 1024, 1025, 2047, 2048, 2049, 3073, 4097, 50_000]:
        for number in (10**digits // 9 * 7, 10**digits, 10**digits - 1, -(10 ** (digits - 1)) - 1):
            record = Message.from_dict({"role": "user", "x": number})
            assert record.extra["x"] == number
            assert type(record.extra["x"]) is int
