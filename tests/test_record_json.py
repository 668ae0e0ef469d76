"""Records as JSON: what is kept byte for byte, what is refused, and what makes two records equal."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.values import (
    CLASSES,
    MAX_DEPTH,
    MAX_SIZE,
    RecordClass,
    compact,
    identical,
    nested,
    objects,
    strict_loads,
    values,
)

from swisper_ctx import EncodeError, Message, PipelineExecution, Product, RecordList
from swisper_ctx.errors import CodecError, DecodeError

NO_NUMBERS = "01 -01 00 - +1 .5 1. 1.e5 1e 1e+ 0x1 1_0 \u0661 Infinity NaN"
NO_TEXTS = r""" 'a' " "\ "\x" "\u12" "\u12g4" "\u+123" "\ud800" "\udc00\ud800" "\ud800\n" """
NO_CONTAINERS = '[1,] [,1] [ ] [} {"a"} {"a":} {"a":1,} {,} {a:1} // nul True'
BLANK = st.text(" \t\r\n", max_size=3)


@pytest.fixture
def long_integers() -> Iterator[None]:
    """Lets the standard library read integers of any length."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


def shuffled(value: Any, order: random.Random) -> Any:
    """The same value with the keys of every object in another order."""
    if isinstance(value, dict):
        pairs = [(key, shuffled(part, order)) for key, part in value.items()]
        order.shuffle(pairs)
        return dict(pairs)
    return [shuffled(part, order) for part in value] if isinstance(value, list) else value


def spaced(value: Any, blank: str) -> str:
    """JSON text with white space wherever it may be."""
    if isinstance(value, dict):
        parts = [f"{blank}{json.dumps(key)}{blank}:{spaced(part, blank)}" for key, part in value.items()]
        text = "{" + (",".join(parts) or blank) + "}"
    elif isinstance(value, list):
        text = "[" + (",".join(spaced(part, blank) for part in value) or blank) + "]"
    else:
        text = json.dumps(value)
    return blank + text + blank


# -- against the standard library


@pytest.mark.parametrize("record_class", CLASSES)
@given(source=objects)
def test_what_goes_in_comes_out(record_class: RecordClass, source: dict[str, Any]) -> None:
    record = record_class.from_dict(source)
    assert identical(record.to_dict(), source)
    assert identical(json.loads(record.to_json()), source)
    assert record_class.from_json(record.to_json()).to_json() == record.to_json()


@given(source=objects, ascii_only=st.booleans())
def test_text_of_others_is_read_as_they_mean_it(source: dict[str, Any], ascii_only: bool) -> None:
    record = Message.from_json(compact(source, ascii_only=ascii_only))
    assert identical(record.to_dict(), source)
    assert identical(json.loads(record.to_json()), source)
    assert record == Message.from_dict(source)


@given(data=st.binary(max_size=40) | st.text('{}[]",:\\/u0123456789.eE+-truefalsn \n', max_size=30).map(str.encode))
@example(b"")
@example(b"[]")
@example(b'{"a":1e999}')
@example(b'{"a":"\\ud83d\\u0041"}')
@example(b"\xef\xbb\xbf{}")
@example(b'{"a":NaN}')
@example(b'{"a":1}\0')
def test_garbage_is_refused(data: bytes) -> None:
    judge(data)


@given(source=objects, data=st.data())
def test_damaged_text_is_refused(source: dict[str, Any], data: st.DataObject) -> None:
    text = compact(source, ascii_only=data.draw(st.booleans()))
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(begin + 3, len(text))))
    judge(text[:begin] + data.draw(st.binary(max_size=3)) + text[end:])


@pytest.mark.parametrize(
    "value", [*NO_NUMBERS.split(), *NO_TEXTS.split(), *NO_CONTAINERS.split(), "[1 2]", '{"a" 1}', ""]
)
def test_what_looks_like_json_is_refused(value: str) -> None:
    data = b'{"a":%b}' % value.encode()
    with pytest.raises(DecodeError):
        Message.from_json(data)
    judge(data)


@pytest.mark.parametrize("code", range(0x20))
def test_control_characters_are_escaped(code: int) -> None:
    text = f"a{chr(code)}b"
    with pytest.raises(DecodeError, match="at byte"):
        Message.from_json(b'{"content":"%b"}' % text.encode())
    for data in (b'{"content":"a\\u%04xb"}' % code, Message.from_dict({"content": text}).to_json()):
        assert Message.from_json(data).content == text


def judge(data: bytes) -> None:
    """Both accept a text and agree about it, or both refuse it."""
    try:
        expected = strict_loads(data)
    except (ValueError, RecursionError):
        expected = None
    if isinstance(expected, dict):
        assert identical(Message.from_json(data).to_dict(), expected)
        return
    with pytest.raises(DecodeError) as caught:
        Message.from_json(data)
    assert caught.value.index is not None
    assert 0 <= caught.value.index <= len(data)


@given(objects)
def test_every_beginning_is_refused(source: dict[str, Any]) -> None:
    text = compact(source)
    for end in range(min(len(text), 300)):
        with pytest.raises(DecodeError):
            Message.from_json(text[:end])


@pytest.mark.parametrize("data", [None, "{}", bytearray(b"{}"), {}])
def test_only_bytes_are_text(data: Any) -> None:
    with pytest.raises(TypeError):
        Message.from_json(data)


# -- byte for byte


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"z":1,"a":[{},[],null,true]}',
        b'{"content":"\\u0041\\/\\u00e9\\ud83d\\ude00\\u0000"}',
        '{"content":"é😀\u2028"}'.encode(),
        b'{"x":-0.0,"y":0.1,"z":-17,"w":123456789012345678901234567890}',
        b'{"a b":" , : \\" \\\\","\\\\":"\\\\"}',
    ],
)
def test_compact_text_is_kept(text: bytes) -> None:
    record = Message.from_json(text)
    assert record.to_json() == text
    assert RecordList(Message, [record])[0].to_json() == text


@given(source=objects)
def test_escapes_are_kept(source: dict[str, Any]) -> None:
    # Numbers may be written in more ways than one; texts have no numbers in them.
    text = compact({json.dumps(key): json.dumps(value) for key, value in source.items()}, ascii_only=True)
    assert Message.from_json(text).to_json() == text


@given(source=objects, blank=BLANK)
def test_white_space_is_dropped(source: dict[str, Any], blank: str) -> None:
    record = Message.from_json(spaced(source, blank).encode())
    assert identical(record.to_dict(), source)
    assert identical(strict_loads(record.to_json()), source)
    assert record == Message.from_dict(source)


@pytest.mark.parametrize(
    "text", ['{"a":1} ', ' {"a":1}', '{ "a":1}', '{"a" :1}', '{"a": 1}', '{"a":1 }', '{"a":1}\r\n']
)
def test_a_single_blank_is_dropped(text: str) -> None:
    assert Message.from_json(text.encode()).to_json() == b'{"a":1}'


def test_of_doubled_keys_the_last_one_counts() -> None:
    record = Message.from_json(b'{"role":"a","x":{"y":1,"y":2},"role":"b","r\\u006fle":"c"}')
    assert record.to_json() == b'{"role":"c","x":{"y":2}}'
    assert record.role == "c"


@pytest.mark.parametrize(
    "spellings", [("1.5", "1.50", "15e-1", "0.15E+1"), ("-0.0", "-0e0"), ("1e22", "1e+22"), ("0", "-0")]
)
def test_spellings_of_a_number_are_one(spellings: tuple[str, ...]) -> None:
    records = [Product.from_json(b'{"price":%b}' % text.encode()) for text in spellings]
    assert len(set(records)) == 1
    assert len({record.to_json() for record in records}) == 1


def test_escaped_names_are_the_same_names() -> None:
    record = Message.from_json(b'{"r\\u006fle":"user","m\\u0065ssage_id":"m","x":1}')
    assert (record.role, record.message_id, record.extra) == ("user", "m", {"x": 1})
    assert record.replace(role="tool").role == "tool"


# -- equality


@given(first=objects, second=objects, seed=st.integers(0, 99))
def test_equality_is_by_value_and_type(first: dict[str, Any], second: dict[str, Any], seed: int) -> None:
    record = Product.from_dict(first)
    assert record == Product.from_dict(shuffled(first, random.Random(seed)))
    assert (record == Product.from_dict(second)) is identical(first, second, ordered=False)
    assert (record != Product.from_dict(second)) is not identical(first, second, ordered=False)


@given(first=values, second=values)
@example(1, 1.0)
@example(1, True)
@example(0, False)
@example(0, None)
@example(0.0, -0.0)
@example([1], [1.0])
@example({"a": 1}, {"a": True})
@example("1", 1)
@example([], {})
@example([[], []], [[]])
@example(2**53, 2.0**53)
def test_equal_values_make_equal_records(first: Any, second: Any) -> None:
    a, b = PipelineExecution("p", execution_id="e", input=first), PipelineExecution("p", execution_id="e", input=second)
    assert (a == b) is identical(first, second, ordered=False)


@given(source=objects, identity=values, seed=st.integers(0, 99))
def test_equal_records_have_equal_hashes(source: dict[str, Any], identity: Any, seed: int) -> None:
    source["message_id"] = identity
    record = Message.from_dict(source)
    for text in (compact(source, ascii_only=True), spaced(shuffled(source, random.Random(seed)), " ").encode()):
        twin = Message.from_json(text)
        assert twin == record
        assert hash(twin) == hash(record)


def test_escaped_keys_do_not_change_the_hash() -> None:
    plain, escaped = Message.from_json(b'{"message_id":"m"}'), Message.from_json(b'{"m\\u0065ssage_id":"m"}')
    assert plain == escaped
    assert hash(plain) == hash(escaped)


@pytest.mark.parametrize("record_class", CLASSES)
def test_records_of_other_classes_and_dicts_are_not_equal(record_class: RecordClass) -> None:
    record = record_class.from_dict({"a": 1})
    others: list[object] = [other.from_dict({"a": 1}) for other in CLASSES if other is not record_class]
    for other in (*others, {"a": 1}, record.to_json(), None):
        assert record != other
    assert len({record, record_class.from_dict({"a": 1}), *others}) == len(CLASSES)


# -- limits


def made(text: str) -> dict[str, Any]:
    """Ways to make a record with this content; each text is as long as it can be escaped."""
    return {
        "constructor": lambda: Product(text),
        "from_dict": lambda: Product.from_dict({"product_id": text}),
        "from_json": lambda: Product.from_json(compact({"product_id": text})),
        "replace": lambda: Product("p").replace(product_id=text),
        "list": lambda: RecordList(Product, [{"product_id": text}])[0],
    }


@pytest.mark.parametrize("way", ["constructor", "from_dict", "from_json", "replace", "list"])
def test_a_record_may_have_16_mebibytes(way: str) -> None:
    most = MAX_SIZE - len(b'{"product_id":""}')
    assert len(made("x" * most)[way]().to_json()) == MAX_SIZE
    with pytest.raises(EncodeError, match="16 MiB"):
        made("x" * (most + 1))[way]()


def test_escapes_count_towards_the_size() -> None:
    text = b'{"product_id":"' + b"\\u0061" * (MAX_SIZE // 6) + b'"}'
    try:
        kept = Product.from_json(text).to_json()
    except CodecError:
        return
    assert len(kept) <= MAX_SIZE


def deep(depth: int) -> dict[str, Any]:
    """Ways to make a record that is nested so deeply, itself included."""
    value = nested(depth - 1)
    return {
        "constructor": lambda: PipelineExecution("p", input=value),
        "from_dict": lambda: PipelineExecution.from_dict({"input": value}),
        "from_json": lambda: PipelineExecution.from_json(compact({"input": value})),
        "replace": lambda: PipelineExecution("p").replace(input=value),
        "list": lambda: RecordList(PipelineExecution, [{"input": value}])[0],
    }


@pytest.mark.parametrize("way", ["constructor", "from_dict", "from_json", "replace", "list"])
def test_a_record_may_be_128_deep(way: str) -> None:
    record = deep(MAX_DEPTH)[way]()
    assert record.input == nested(MAX_DEPTH - 1)
    assert record.to_dict()["input"] == nested(MAX_DEPTH - 1)
    with pytest.raises(CodecError, match="deeper than 128"):
        deep(MAX_DEPTH + 1)[way]()


def test_deep_records_come_out_of_a_list() -> None:
    source = {"input": nested(MAX_DEPTH - 1)}
    records = RecordList(PipelineExecution, [source])
    assert records[0].to_dict() == source
    assert records.to_dicts() == [source]


@pytest.mark.usefixtures("long_integers")
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_have_any_length(sign: int) -> None:
    number = sign * (10**5000 - 7)
    record = Product("p", price=number)
    assert identical(record.price, number)
    assert record.to_json() == b'{"product_id":"p","price":%d}' % number
    assert identical(Product.from_json(record.to_json()).to_dict()["price"], number)


@pytest.mark.parametrize("text", ["\ud800", "a\udc80b", "\ude00\ud83d"])
def test_lone_surrogates_are_refused(text: str) -> None:
    for source in ({"content": text}, {"metadata": {"k": [text]}}, {"metadata": {text: 1}}):
        with pytest.raises(EncodeError, match="surrogate"):
            Message.from_dict(source)
    with pytest.raises(DecodeError):
        Message.from_json(compact({"content": text}, ascii_only=True))


@pytest.mark.parametrize("text", ["\0", "a\0b", "\x1f\x7f", "\U0010ffff", "\u2028\u2029", "\ufeff"])
def test_every_other_code_point_survives(text: str) -> None:
    record = Message("user", text, metadata={text: text})
    assert (record.content, record.metadata) == (text, {text: text})
    assert Message.from_json(compact(record.to_dict(), ascii_only=True)) == record


def test_self_containing_values_are_refused() -> None:
    cycle: dict[str, Any] = {}
    cycle["again"] = [cycle]
    with pytest.raises(EncodeError, match="deeper than 128"):
        Message.from_dict(cycle)
