"""Cases in the form of json-patch-tests (https://github.com/json-patch/json-patch-tests, Apache-2.0): a small choice.

`LARGE` is the whole suite where it lies beside the project.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGE = Path(__file__).parents[2] / "shared" / "data" / "jsonpatch_tests"

SMALL: list[dict[str, Any]] = [
    {
        "doc": {"foo": 1, "baz": [{"qux": "hello"}]},
        "patch": [{"op": "replace", "path": "/baz/0/qux", "value": "world"}],
        "expected": {"foo": 1, "baz": [{"qux": "world"}]},
    },
    {
        "doc": {"foo": 1},
        "patch": [{"op": "add", "path": "/bar", "value": [1, 2]}],
        "expected": {"foo": 1, "bar": [1, 2]},
    },
    {"doc": {"foo": "bar"}, "patch": [{"op": "add", "path": "/", "value": 1}], "expected": {"foo": "bar", "": 1}},
    {"doc": ["foo"], "patch": [{"op": "add", "path": "/1", "value": "bar"}], "expected": ["foo", "bar"]},
    {"doc": ["foo"], "patch": [{"op": "add", "path": "/2", "value": "bar"}], "error": "index past the end"},
    {"doc": ["foo"], "patch": [{"op": "add", "path": "/-1", "value": "bar"}], "error": "negative index"},
    {"doc": ["foo"], "patch": [{"op": "replace", "path": "/00", "value": "bar"}], "error": "leading zero"},
    {"doc": ["foo"], "patch": [{"op": "replace", "path": "/1e0", "value": "bar"}], "error": "no index"},
    {"doc": {"a": [1, 2]}, "patch": [{"op": "remove", "path": "/a/2"}], "error": "nothing there"},
    {"doc": {"a": [1, 2]}, "patch": [{"op": "remove", "path": "/a/-"}], "error": "nothing there"},
    {"doc": {"a": {"b": 1}}, "patch": [{"op": "move", "from": "/a/b", "path": "/c"}], "expected": {"a": {}, "c": 1}},
    {"doc": {"a": {"b": 1}}, "patch": [{"op": "move", "from": "/a", "path": "/a/b"}], "error": "into itself"},
    {"doc": {"a": [1]}, "patch": [{"op": "move", "from": "/a", "path": "/a"}], "expected": {"a": [1]}},
    {"doc": [1, 2, 3], "patch": [{"op": "move", "from": "/0", "path": "/2"}], "expected": [2, 3, 1]},
    {
        "doc": {"a": {"b": [1]}},
        "patch": [{"op": "copy", "from": "/a/b", "path": "/a/c"}],
        "expected": {"a": {"b": [1], "c": [1]}},
    },
    {"doc": {"a": 1}, "patch": [{"op": "test", "path": "/a", "value": "1"}], "error": "another type"},
    {
        "doc": {"a": [1, {"b": None}]},
        "patch": [{"op": "test", "path": "/a", "value": [1, {"b": None}]}],
        "expected": {"a": [1, {"b": None}]},
    },
    {"doc": {"~1": 10, "/": 9}, "patch": [{"op": "test", "path": "/~01", "value": 10}], "expected": {"~1": 10, "/": 9}},
    {"doc": {"foo": 1}, "patch": [{"op": "add", "path": "", "value": {"bar": 2}}], "expected": {"bar": 2}},
    {"doc": {"foo": 1}, "patch": [{"op": "add", "path": "/a/b", "value": 2}], "error": "no parent"},
    {"doc": {"foo": 1}, "patch": [{"op": "spam", "path": "/foo", "value": 2}], "error": "unknown operation"},
    {"doc": {"foo": 1}, "patch": [{"op": "add", "value": 2}], "error": "no path"},
    {"doc": {"foo": 1}, "patch": [{"op": "add", "path": "/a"}], "error": "no value"},
    {"doc": {"foo": 1}, "patch": [{"op": "add", "path": "foo", "value": 2}], "error": "no slash"},
    {"doc": {"foo": 1}, "patch": [{"op": "copy", "path": "/bar"}], "error": "no from"},
]


def cases() -> list[dict[str, Any]]:
    """The choice, and the whole suite if it is there."""
    files = sorted(LARGE.glob("*.json"))
    suite = [case for file in files for case in json.loads(file.read_text()) if not case.get("disabled")]
    return [*SMALL, *suite]
