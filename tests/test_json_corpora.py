"""Collections of texts that others have made: JSONTestSuite, naughty strings, a large catalogue.

Their licences stand beside them in `data`.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.values import compact, identical

from swisper_ctx import DecodeError, dumps, loads

HERE = Path(__file__).parent
SUITE: dict[str, bytes] = {
    **{
        name: text.encode("latin-1")
        for name, text in json.loads((HERE / "data/jsontestsuite.json").read_bytes()).items()
    },
    "n_structure_100000_opening_arrays": b"[" * 100_000,
    "n_structure_open_array_object": b'[{"":' * 50_000 + b"\n",
}
BYTES = {
    "i_string_UTF-8_invalid_sequence": '["日ш'.encode() + b'\xfa"]',
    "i_string_utf16BE_no_BOM": '["é"]'.encode("utf-16-be"),
    "i_string_utf16LE_no_BOM": '["é"]'.encode("utf-16-le"),
    "i_string_UTF-16LE_with_BOM": b"\xff\xfe" + '["é"]'.encode("utf-16-le"),
    "i_structure_500_nested_arrays": b"[" * 500 + b"]" * 500,
    "i_structure_UTF-8_BOM_empty_object": b"\xef\xbb\xbf{}",
}


def open_cases() -> list[tuple[str, bytes, str]]:
    """Name, text and what becomes of it, from the table in the documentation."""
    text = (HERE.parent / "docs/JSON.md").read_text(encoding="utf-8")
    cases = []
    for name, shown, verdict in re.findall(r"^\| (i_\S+) \| (.+) \| (.+) \|$", text, re.MULTILINE):
        if name in BYTES:
            data = BYTES[name]
        elif shown.startswith("`"):
            data = shown.strip("`").encode()
        else:
            data = b'["' + bytes.fromhex("".join(re.findall(r"\b[0-9A-F]{2}\b", shown))) + b'"]'
        cases.append((name, data, verdict))
    return cases


def test_the_suite_is_whole() -> None:
    kinds = [name[:2] for name in SUITE]
    assert (kinds.count("y_"), kinds.count("n_"), len(open_cases())) == (95, 188, 35)


@pytest.mark.parametrize("name", [name for name in SUITE if name.startswith("y_")])
def test_what_must_be_accepted(name: str) -> None:
    data = SUITE[name]
    assert identical(loads(data), json.loads(data))
    assert identical(loads(data.decode()), json.loads(data))
    assert identical(loads(dumps(loads(data))), json.loads(data))


@pytest.mark.parametrize("name", [name for name in SUITE if name.startswith("n_")])
def test_what_must_be_refused(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        loads(SUITE[name])
    assert caught.value.index is not None
    assert caught.value.index <= len(SUITE[name])


@pytest.mark.parametrize(("name", "data", "verdict"), open_cases())
def test_what_is_left_open_is_as_documented(name: str, data: bytes, verdict: str) -> None:
    if verdict.startswith("accepted"):
        assert identical(loads(data), json.loads(data))
        assert verdict != "accepted: 0.0" or loads(data) == [0.0]
    else:
        with pytest.raises(DecodeError):
            loads(data)


NAUGHTY: list[str] = json.loads((HERE / "data/blns.json").read_bytes())


def test_naughty_strings() -> None:
    assert len(NAUGHTY) > 500
    assert dumps(NAUGHTY) == compact(NAUGHTY)
    for text in NAUGHTY:
        for value in (text, [text], {text: text}):
            assert dumps(value) == compact(value)
            assert loads(compact(value)) == loads(compact(value, ascii_only=True)) == value
            assert loads(json.dumps(value)) == value


def test_a_large_catalogue() -> None:
    data = gzip.decompress((HERE / "data/citm_catalog.json.gz").read_bytes())
    expected: Any = json.loads(data)
    assert identical(loads(data), expected)
    assert dumps(expected) == compact(expected)
    assert dumps(expected, indent=4) == json.dumps(expected, indent=4, ensure_ascii=False).encode()
    assert (
        dumps(expected, sort_keys=True)
        == json.dumps(expected, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
    )
