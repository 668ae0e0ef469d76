"""The tree of exceptions is the one that is drawn."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swisper_ctx
from swisper_ctx import errors
from swisper_ctx.log import Etag


def drawn() -> dict[str, tuple[str, ...]]:
    """The bases of each class in the drawing at the top of the module."""
    bases: dict[str, tuple[str, ...]] = {}
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r"((?:│   |    )*(?:[├└]── )?)(\w+Error)(?: \((\w+)\))?", line)
        if found is None:
            continue
        indent, name, builtin = found.groups()
        del parents[len(indent) // 4 :]
        bases[name] = (parents[-1] if parents else "Exception", *([builtin] if builtin else []))
        parents.append(name)
    return bases


def classes() -> dict[str, type[BaseException]]:
    found = inspect.getmembers(errors, lambda member: inspect.isclass(member) and issubclass(member, BaseException))
    return {name: cls for name, cls in found if cls.__module__ == errors.__name__}


def test_the_drawing_shows_every_class_and_no_other() -> None:
    assert sorted(drawn()) == sorted(classes())
    assert len(drawn()) > 10


@pytest.mark.parametrize("name", sorted(classes()))
def test_the_drawing_shows_the_bases(name: str) -> None:
    assert drawn()[name] == tuple(base.__name__ for base in classes()[name].__bases__)


@pytest.mark.parametrize("name", sorted(classes()))
def test_every_class_is_public(name: str) -> None:
    assert getattr(swisper_ctx, name) is classes()[name]
    assert name in swisper_ctx.__all__


@pytest.mark.parametrize(
    ("error", "text", "details"),
    [
        (
            errors.EncodeError("a set", pointer="/a/0"),
            "a set (at /a/0)",
            {"kind": "a set", "pointer": "/a/0", "index": None},
        ),
        (
            errors.DecodeError("no value", index=3),
            "no value at byte 3",
            {"kind": "no value", "index": 3, "pointer": ""},
        ),
        (errors.PatchError("no path", operation=2, path="/a"), "operation 2: no path (path /a)", {"operation": 2}),
        (errors.PatchError("no path", operation=0), "operation 0: no path", {"operation": 0, "path": ""}),
        (errors.InvalidTransitionError("a", "b", []), "'a' cannot become 'b'; allowed: none", {"allowed": ()}),
        (errors.InvalidTransitionError("a", "b", {"d", "c"}), "'a' cannot become 'b'; allowed: c, d", {"target": "b"}),
        (
            errors.VersionUnavailableError(3, 7, 9),
            "version 3 is no longer kept; the oldest is 7",
            {"version": 3, "oldest": 7, "newest": 9},
        ),
        (errors.VersionUnavailableError(10, 7, 9), "there is no version 10 yet; the newest is 9", {"newest": 9}),
        (
            errors.ConflictError("gone", expected=Etag(2, b"t")),
            "not written: the session is gone; expected version 2",
            {"actual": None},
        ),
        (errors.CorruptSessionError("bad", session_id="s", block="head"), "head of session s: bad", {"block": "head"}),
        (errors.CorruptSessionError("bad"), "bad", {"session_id": None, "problem": "bad"}),
    ],
)
def test_messages_and_details(error: Exception, text: str, details: dict[str, Any]) -> None:
    assert str(error) == text
    assert {name: getattr(error, name) for name in details} == details


def test_a_conflict_names_both_versions_but_no_token() -> None:
    error = errors.ConflictError("x", expected=Etag(2, b"secret-1"), actual=Etag(3, b"secret-2"), paths=["/a"])
    assert str(error) == "not written: x; expected version 2; actual version 3"
    assert error.paths == ("/a",)


MADE: list[errors.ContextError] = [
    errors.EncodeError("a set", pointer="/a/0"),
    errors.DecodeError("no value", index=3, line=1, column=4),
    errors.PatchError("no path", operation=2, path="/a"),
    errors.NotLoadedError("not here"),
    errors.InvalidTransitionError("a", "b", {"d", "c"}),
    errors.OutcomeUnknownError("lost"),
    errors.ConflictError("overlap", expected=Etag(2, b"1"), actual=Etag(3, b"2"), paths=["/a"]),
    errors.SessionNotFoundError("no session"),
    errors.VersionUnavailableError(3, 7, 9),
    errors.CorruptSessionError("bad", session_id="s", block="head"),
    errors.DecryptionError("bad", session_id="s", keys=2),
    errors.PrivacyError("forbidden"),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "through",
    [copy.copy, copy.deepcopy, *(lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in (0, 2, 5))],
)
def test_an_error_survives_copies_and_pickles(error: errors.ContextError, through: Callable[[Any], Any]) -> None:
    error.add_note("a note")
    again = through(error)
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_every_conflict_has_one_of_the_reasons_that_are_told() -> None:
    told = set(re.findall(r"^ +([a-z_]+(?:, [a-z_]+)*)  +", errors.ConflictError.__doc__ or "", re.MULTILINE))
    assert {reason for line in told for reason in line.split(", ")} == errors.CONFLICTS.keys()
    raised = set()
    for path in Path(errors.__file__).parent.rglob("*.py"):
        raised |= set(re.findall(r"raise ConflictError\(\s*\"([^\"]*)\"", path.read_text()))
    assert {"saved", "rewritten"} <= raised <= errors.CONFLICTS.keys()
