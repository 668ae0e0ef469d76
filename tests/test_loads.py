"""`loads` against the standard library, and what its errors say."""

from __future__ import annotations

import array
import json
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.values import MAX_DEPTH, compact, identical, nested, strict_loads, values

from swisper_ctx import DecodeError, dumps, loads
from swisper_ctx._core import choose_kernels

TOKENS = '{}[]",:\\/u0123456789.eE+-truefalsnNaIity \n\té€😀\ud83d\x00\x1f'
texts = st.text(max_size=300) | st.text('aé€😀"\n\\\x00\x1f ', max_size=200) | st.text("abcäöü ", max_size=300)


@pytest.fixture(scope="module", params=["baseline", "avx512"], autouse=True)
def _kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    choose_kernels(request.param)
    yield
    choose_kernels("vbmi2")


# -- against the standard library


@given(values, st.booleans(), st.sampled_from([None, 0, 2]))
def test_it_reads_what_the_standard_library_writes(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert identical(loads(text), value)
    assert identical(loads(text.encode()), value)


@given(texts, st.booleans())
def test_strings(text: str, ascii_only: bool) -> None:
    assert loads(compact(text, ascii_only=ascii_only)) == text
    assert loads(compact({text: [text]}, ascii_only=ascii_only)) == {text: [text]}


def judge(data: bytes) -> None:
    """Both accept a text and agree about it, or both refuse it."""
    try:
        expected = strict_loads(data)
    except (ValueError, RecursionError):
        with pytest.raises(DecodeError) as caught:
            loads(data)
        error = caught.value
        assert error.index is not None
        assert 0 <= error.index <= len(data)
        before = data[: error.index]
        assert error.line == before.count(b"\n") + 1
        line = before.rpartition(b"\n")[2]
        assert error.column == 1 + sum(byte & 0xC0 != 0x80 for byte in line)
    else:
        assert identical(loads(data), expected)


@given(st.binary(max_size=60) | st.text(TOKENS, max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"")
@example(b"-")
@example(b"[1,\n tru]")
@example(b'"\\ud800\\u')
def test_garbage(data: bytes) -> None:
    judge(data)


@given(values, st.data())
def test_damaged_text(value: Any, data: st.DataObject) -> None:
    text = json.dumps(
        value, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1]))
    ).encode()
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(begin + 3, len(text))))
    judge(text[:begin] + data.draw(st.binary(max_size=3)) + text[end:])


@given(values)
def test_every_beginning(value: Any) -> None:
    text = json.dumps(value, indent=1).encode()
    for end in range(min(len(text), 200)):
        judge(text[:end])


def amid(text: str) -> str:
    """Among other text, so that much may be loaded at once before it and behind it."""
    return f'["{"x" * 40}",{text},"{"x" * 40}"]'


@given(st.from_regex(r"\A-?[0-9]{1,25}(\.[0-9]{0,25})?([eE][-+]?[0-9]{0,4})?\Z"))
@example("9007199254740993.0")
@example("9007199254740992e1")
@example("1e22")
@example("1e23")
@example("123456789012345678901234567890e-30")
@example("0.000000000000000000000000000000000000000000000000000000000000000000000000000000000001")
@example("2.2250738585072011e-308")
@example("1.7976931348623158e308")
@example("18446744073709551616.5")
@example("99999999999999999999999999e-26")
@example("1e-99999")
@example("0e99999")
@example("-0")
@example("-0.0")
@example("-0e5")
@example("999999999999999999")
@example("9999999999999999999")
@example("-9223372036854775808")
def test_numbers(text: str) -> None:
    for around in ("{}", "[{}]", '{{"a":{}}}', "{} "):
        judge(around.format(text).encode())
        judge(amid(around.format(text)).encode())


@given(st.integers(0, 2**64), st.integers(-25, 25), st.booleans())
@example(2**53 + 1, 0, True)
@example(2**54 + 2, -1, False)
@example(9007199254740993, -3, True)
@example(10**19 - 1, -19, True)
@example(10**19 - 1, 19, True)
def test_floats_of_many_digits(digits: int, exponent: int, point: bool) -> None:
    text = f"{digits}e{exponent}"
    if point and -19 <= exponent < 0:
        whole = str(digits).rjust(1 - exponent, "0")
        text = f"{whole[:exponent]}.{whole[exponent:]}"
    for signed in (text, f"-{text}"):
        assert identical(loads(signed), float(signed))
        assert identical(loads(amid(signed))[1], float(signed))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back(number: float) -> None:
    for text in (repr(number), f"{number:.17g}", f"{number:.19e}", f"{number:.3f}"):
        if "." in text or "e" in text:
            assert identical(loads(text), float(text))
            assert identical(loads(amid(text))[1], float(text))


def test_numbers_of_all_lengths(effort: int) -> None:
    random = Random(1)
    texts = []
    for _ in range(20_000 * effort):
        whole = random.randrange(10 ** random.randrange(1, 22))
        places = random.randrange(30)
        fraction = f".{random.randrange(10**places):0{places}}" if places and random.randrange(3) else ""
        texts.append(random.choice(["", "-"]) + str(whole) + fraction)
    for around in ("[{}]", '[{{"a":{}}}]'):
        text = "[" + ",".join(around.format(each) for each in texts) + "]"
        assert identical(loads(text), json.loads(text))


@pytest.mark.parametrize(
    "number", ["7", "-7", "123456789012345", "0.5", "-1234.5678901234567", "1e5", "1.5e-7", "-0.0"]
)
def test_numbers_near_the_ends_of_a_text(number: str) -> None:
    for before in range(40):
        for behind in range(40):
            assert identical(loads(" " * before + f"[{number}]" + " " * behind), json.loads(f"[{number}]"))
            assert identical(loads(" " * before + number + " " * behind), json.loads(number))


@given(st.integers(1, 20_000), st.sampled_from(["", "-"]))
def test_integers_of_any_size(digits: int, sign: str) -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        number = int(sign + "7" * digits)
        assert loads(dumps(number)) == number
    finally:
        sys.set_int_max_str_digits(before)


# -- what it is given


@pytest.mark.parametrize(
    "kind",
    [bytes, bytearray, memoryview, bytes.decode, lambda data: memoryview(bytearray(data)), type("B", (bytes,), {})],
)
@pytest.mark.parametrize("text", ['{"a":[1,"x"]}', '["wört","€😀"]', "[" + "1," * 5000 + "1]"])
def test_kinds_of_input(kind: Any, text: str) -> None:
    assert loads(kind(text.encode())) == json.loads(text)


def test_views_of_many_shapes() -> None:
    assert loads(memoryview(b"x[1,2]x")[1:-1]) == [1, 2]
    assert loads(memoryview(b"]x2x,x1x[")[::-2]) == [1, 2]
    for given_value in (1, None, ["[]"], array.array("i", [1]), memoryview(b"[][]").cast("H")):
        with pytest.raises(TypeError, match="JSON text is"):
            loads(given_value)  # type: ignore[arg-type]


def test_a_view_that_is_held_can_be_released_afterwards() -> None:
    data = bytearray(b"[1]")
    assert loads(data) == [1]
    data.extend(b" ")
    with pytest.raises(DecodeError):
        loads(bytearray(b"[1"))


# -- what is defined here


@pytest.mark.parametrize(
    ("text", "kind", "index", "line", "column"),
    [
        (b"", "unexpected end", 0, 1, 1),
        (b"  ", "unexpected end", 2, 1, 3),
        (b'{"a": 1,\n "b": x}', "a value was expected", 15, 2, 7),
        ('["é€😀", nul]'.encode(), "a value was expected", 14, 1, 9),
        (b"[1] 2", "bytes after the value", 4, 1, 5),
        (b"[1 2]", "a comma or the end was expected", 3, 1, 4),
        (b'{"a" 1}', "a colon was expected", 5, 1, 6),
        (b"{1:2}", "a key was expected", 1, 1, 2),
        (b'{"a":1,}', "a key was expected", 7, 1, 8),
        (b"[1,]", "a value was expected", 3, 1, 4),
        (b"[01]", "invalid number", 1, 1, 2),
        (b"[1.]", "invalid number", 3, 1, 4),
        (b"[1e400]", "a number that no float can hold", 1, 1, 2),
        (b"NaN", "a value was expected", 0, 1, 1),
        (b"-Infinity", "invalid number", 1, 1, 2),
        (b'["a\nb"]', "a control character in a string", 3, 1, 4),
        (b'["a\\x"]', "an escape that JSON does not have", 3, 1, 4),
        (b'["\\u12g4"]', "an escape that is no number of four digits", 2, 1, 3),
        (b'["\\ud800"]', "a lone surrogate", 2, 1, 3),
        (b'["\\udc00\\ud800"]', "a lone surrogate", 2, 1, 3),
        (b'["ab\xff"]', "bytes that are not UTF-8", 4, 1, 5),
        (b'["\\n\xed\xa0\x80"]', "bytes that are not UTF-8", 4, 1, 5),
        (b'["abc', "unexpected end", 5, 1, 6),
        (b"\xef\xbb\xbf[]", "a byte order mark", 0, 1, 1),
        ("\ufeff[]", "a byte order mark", 0, 1, 1),
        ('["\ud800"]', "a lone surrogate", 2, 1, 3),
        ("[1]".encode("utf-16"), "a value was expected", 0, 1, 1),
        (b"[" * 129, "nested deeper than 128", 128, 1, 129),
    ],
)
def test_errors(text: Any, kind: str, index: int, line: int, column: int) -> None:
    with pytest.raises(DecodeError) as caught:
        loads(text)
    error = caught.value
    assert (error.kind, error.index, error.line, error.column) == (kind, index, line, column)
    assert str(error) == f"{kind} at byte {index} (line {line}, column {column})"


def test_depth() -> None:
    assert loads(compact(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    for opening in (b"[", b'{"a":', b'[{"a":'):
        with pytest.raises(DecodeError, match="deeper than 128"):
            loads(opening * 100_000)


def test_doubled_keys() -> None:
    assert list(loads(b'{"a":1,"b":2,"a":3,"\\u0061":4}').items()) == [("a", 4), ("b", 2)]


def test_zeros_keep_their_kind() -> None:
    assert [repr(value) for value in loads(b"[-0,-0.0,0.0,0e5,-0e-5]")] == ["0", "-0.0", "0.0", "0.0", "-0.0"]


def test_zeros_are_characters() -> None:
    for length in range(18):
        for text in ("a" * length, "a" * length + "\0", "a" * length + "\0\0", "\0" * length):
            assert loads(dumps({text: text})) == {text: text}
            assert loads(dumps([text, "behind it, so much that it ends far away"]))[0] == text


@pytest.mark.parametrize("text", ["\0", "a\0b", "\x7f", "\u2028", "\ufeff", "\uffff", "\U0010ffff"])
def test_every_character_survives(text: str) -> None:
    for ascii_only in (True, False):
        assert loads(compact([text, {text: text}], ascii_only=ascii_only)) == [text, {text: text}]


def test_what_is_read_is_plain_and_belongs_to_nobody_else() -> None:
    text = b'{"a":[{"a":"abc"}],"b":[{"a":"abc"}]}'
    first, second = loads(text), loads(text)
    first["a"][0]["a"] = 1
    first["b"].clear()
    assert second == json.loads(text)
    assert (type(second), type(second["a"])) == (dict, list)


def test_collecting_garbage_is_as_it_was() -> None:
    import gc

    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            loads(b"[" + b"1," * 5000 + b"1]")
            with pytest.raises(DecodeError):
                loads(b"[" + b"1," * 5000)
            assert gc.isenabled() is enabled
        finally:
            gc.enable()


# Roles, kinds of content and states come again and again: one string of each is kept.
ROLES = ["user", "assistant", "system", "developer", "tool", "function"]
KINDS = ["text", "image_url", "input_text", "output_text", "tool_use", "tool_result", "thinking"]
SHARED = [*ROLES, *KINDS, "completed", "failed"]


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=2, max_size=60))
def test_no_value_is_kept(value: str) -> None:
    assume(value not in SHARED)
    first, second = loads(dumps([value, value]))
    assert first is not second
    assert sys.getrefcount(first) == sys.getrefcount(second) == 2


def test_roles_and_short_keys_are_shared() -> None:
    text = dumps({f"key {word}": word for word in SHARED})
    first, second = loads(text), loads(text)
    assert all(a is b for pairs in zip(first.items(), second.items(), strict=True) for a, b in zip(*pairs, strict=True))
