"""What others have saved, put under what a context has not saved yet; against a model that knows only documents."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from tests.replay import apply, pointer
from tests.values import identical

from swisper_ctx import EncodeError, Message, SwisperContext, serialize_context
from swisper_ctx._core import Conflict, Delta, Snapshot, rebase
from swisper_ctx.context import METADATA, Position

SESSION, TOKEN = "s", bytes(16)
Edit = tuple[Any, ...]
Document = dict[str, Any]
FILLER = "x" * 300
BARRIERS = {"consent_status", "data_retention_policy"}


def start(*messages: dict[str, Any]) -> Snapshot:
    context = SwisperContext(
        session_id=SESSION,
        soft_preferences={"filler": FILLER, "-": 1, "0": [1, [2], FILLER], "turns": 7, "inner": {"a": 1}},
        hard_constraints=["quiet", FILLER],
        consent_status={"memory": True},
    )
    context.conversation_history[:] = messages or [{"message_id": f"m{n}", "role": "user"} for n in range(4)]
    delta = context._freeze()
    assert delta is not None
    return delta.snapshot


def at(snapshot: Snapshot) -> SwisperContext:
    return SwisperContext._at(Position(SESSION, "", snapshot))


def change(context: SwisperContext, edit: Edit) -> None:
    """One edit, of those that a context offers."""
    history, wishes = context.conversation_history, context.soft_preferences
    match edit:
        case ("say", message):
            history.append(message)
        case ("insert", index, message):
            history.insert(index, message)
        case ("replace", index, message) if index < len(history):
            history[index] = message
        case ("remove", index) if index < len(history):
            del history[index]
        case ("wish", key, value):
            wishes[key] = value
        case ("unwish", key):
            wishes.pop(key, None)
        case ("number", value) if type(wishes.get("0")) is list:
            wishes["0"].append(value)
        case ("first number", value) if wishes.get("0") and type(wishes["0"]) is list:
            wishes["0"][0] = value
        case ("wishes", value):
            context.soft_preferences = {"all": value}
        case ("constrain", value):
            context.hard_constraints.append(value)
        case ("constrain first", value):
            context.hard_constraints[0] = value
        case ("go", state):
            context.current_state = state
        case ("ask", query):
            context.product_query = query
        case ("consent", given):
            context.consent_status["memory"] = given
        case _:
            return


def save(context: SwisperContext) -> Delta | None:
    return context._freeze()


def frames_of(deltas: Sequence[Delta]) -> list[tuple[int, bytes | None]]:
    parents = [TOKEN, *(bytes([n + 1]) * 16 for n in range(len(deltas)))]
    return [
        (n + 2, delta.frame(SESSION, 0, parents[n], (n + 2, parents[n + 1]), None, 0)) for n, delta in enumerate(deltas)
    ]


def put_under(base: Snapshot, theirs: Sequence[Delta], saves: Sequence[Delta], context: SwisperContext) -> Any:
    return rebase(base, saves, context.__dict__, SESSION, (0, 0), (1, TOKEN), frames_of(theirs))


def merged(base: Snapshot, theirs: Sequence[Delta], saves: Sequence[Delta], context: SwisperContext) -> list[Delta]:
    """The rebased saves; the context stands behind them."""
    found = put_under(base, theirs, saves, context)
    assert not isinstance(found, Conflict), found.reason
    state, deltas = found
    assert state.to_json() == theirs[-1].snapshot.to_json()
    context._position.snapshot = deltas[-1].snapshot if deltas else state
    return deltas  # type: ignore[no-any-return]


def saved(context: SwisperContext, *edits: Edit) -> Delta:
    for edit in edits:
        change(context, edit)
    delta = save(context)
    assert delta is not None
    return delta


def message(name: str, **more: Any) -> dict[str, Any]:
    return {"message_id": name, "role": "user", **more}


# -- the model: documents, patches, and the rules as DESIGN.md puts them


def touched_paths(document: Document, patch: list[dict[str, Any]]) -> list[tuple[tuple[str, ...], bool]]:
    """(path, whether it appends) of each operation, on the document that it meets."""
    document, found = copy.deepcopy(document), []
    for operation in patch:
        if operation["op"] != "test":
            found.append(touched_path(document, operation))
        document = apply(document, [copy.deepcopy(operation)])
    return found


def touched_path(document: Any, operation: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    tokens = pointer(operation["path"])
    for depth, token in enumerate(tokens):
        if isinstance(document, list):
            appends = operation["op"] == "add" and token == "-" and depth == len(tokens) - 1
            return tuple(tokens[:depth]), appends
        document = document.get(token)
    return tuple(tokens), False


def exclude(a: tuple[tuple[str, ...], bool], b: tuple[tuple[str, ...], bool]) -> bool:
    (p, p_appends), (q, q_appends) = a, b
    if p == q and p_appends and q_appends:
        return False
    return p[: len(q)] == q[: len(p)]


def open_calls(messages: list[dict[str, Any]], since: int) -> bool:
    """Whether a call among the last messages before `since`, or after it, has no answer."""
    first = since
    while first and messages[first - 1].get("tool_call_id"):
        first -= 1
    while first and messages[first - 1].get("tool_calls"):
        first -= 1
    return any(
        call["id"] not in [answer.get("tool_call_id") for answer in messages[place + 1 : end]]
        for end in (since, len(messages))
        for place in range(first, end)
        for call in messages[place].get("tool_calls") or ()
    )


def blind(document: Document, patch: list[dict[str, Any]]) -> bool:
    """Whether it edits a record that has no id."""
    document = copy.deepcopy(document)
    for operation in patch:
        match pointer(operation["path"]):
            case ["conversation_history", index] if operation["op"] in ("remove", "replace"):
                if "message_id" not in document["conversation_history"][int(index)]:
                    return True
        document = apply(document, [copy.deepcopy(operation)])
    return False


class Model:
    """What merging should give."""

    def __init__(self, base: Snapshot, theirs: Sequence[Delta]) -> None:
        self.base: Document = json.loads(base.to_json())
        self.document, self.paths = copy.deepcopy(self.base), []
        for delta in theirs:
            patch = json.loads(delta.patch())
            self.paths += touched_paths(self.document, patch)
            self.document = apply(self.document, patch)
        self.fields = {path[0] for path, _ in self.paths}
        before, now = (document["conversation_history"] for document in (self.base, self.document))
        grew = (("conversation_history",), True) in self.paths
        self.is_open = grew and now[: len(before)] == before and open_calls(now, len(before))
        self.ours = copy.deepcopy(self.base)

    def follow(self, delta: Delta, *, unsaved: bool = False) -> str | None:
        """Put one more change of ours behind; the reason why it does not go there."""
        patch = json.loads(delta.patch())
        paths = touched_paths(self.ours, patch)
        is_blind = blind(self.ours, patch) and (not unsaved or "conversation_history" in self.fields)
        self.ours = apply(self.ours, copy.deepcopy(patch))
        fields = {path[0] for path, _ in paths}
        # What is not saved yet and nowhere near theirs only must not have come before a barrier.
        concerns = not unsaved or self.fields & BARRIERS or fields & (self.fields | BARRIERS)
        if concerns and (fields | self.fields) & BARRIERS:
            return "barrier"
        if is_blind:
            return "unidentified"
        if any(exclude(a, b) for a in paths for b in self.paths):
            return "overlap"
        if self.is_open and "conversation_history" in fields:
            return "tool_calls"
        self.document = apply(self.document, patch)
        return None


names = st.integers(0, 10**6).map(lambda n: f"n{n}")
messages = st.one_of(
    names.map(message),
    st.just({"role": "user", "content": "nameless"}),
    st.sampled_from("ab").map(lambda id_: {"role": "assistant", "tool_calls": [{"id": id_}]}),
    st.sampled_from("ab").map(lambda id_: {"role": "tool", "tool_call_id": id_}),
)
numbers = st.integers(0, 10**6)
places = st.integers(0, 4)
wishes = st.sampled_from(["-", "0", "turns", "new", "inner", "a/b", "~"])
edits: st.SearchStrategy[Edit] = st.one_of(
    st.tuples(st.just("say"), messages),
    st.tuples(st.just("say"), messages),
    st.tuples(st.just("insert"), places, messages),
    st.tuples(st.just("replace"), places, messages),
    st.tuples(st.just("remove"), places),
    st.tuples(st.just("wish"), wishes, numbers | st.lists(numbers, max_size=2) | st.dictionaries(wishes, numbers)),
    st.tuples(st.just("unwish"), wishes),
    st.tuples(st.sampled_from(["number", "first number", "constrain", "constrain first"]), numbers),
    st.tuples(st.sampled_from(["go", "ask"]), names),
    st.tuples(st.just("wishes"), numbers),
    st.tuples(st.just("consent"), st.booleans()),
)
changes = st.lists(edits, min_size=1, max_size=3)


def fields_of(context: SwisperContext) -> Document:
    return {name: value for name, value in serialize_context(context).items() if name not in METADATA}


def written(base: Snapshot, parts: Sequence[list[Edit]]) -> tuple[SwisperContext, list[Delta]]:
    """A context after these changes, each of which was handed over."""
    context = at(base)
    deltas = []
    for part in parts:
        for edit in part:
            change(context, edit)
        if (delta := save(context)) is not None:
            deltas.append(delta)
    return context, deltas


@given(
    first=st.lists(messages, min_size=1, max_size=4),
    theirs=st.lists(changes, min_size=1, max_size=2),
    ours=st.lists(changes, max_size=2),
    later=st.lists(edits, max_size=2),
)
def test_merging_is_that_of_the_model(
    first: list[dict[str, Any]], theirs: list[list[Edit]], ours: list[list[Edit]], later: list[Edit]
) -> None:
    base = start(*first)
    _, their_deltas = written(base, theirs)
    context, saves = written(base, ours)
    twin, _ = written(base, ours)
    for edit in later:
        change(context, edit)
        change(twin, edit)
    unsaved = save(twin)
    if not their_deltas:
        return
    model = Model(base, their_deltas)
    reasons = (model.follow(delta, unsaved=delta is unsaved) for delta in [*saves, unsaved] if delta is not None)
    expected = next(filter(None, reasons), None)
    event(expected or "merged")
    before, frozen = copy.deepcopy(fields_of(context)), [delta.patch() for delta in saves]
    found = put_under(base, their_deltas, saves, context)
    if isinstance(found, Conflict):
        assert found.reason == expected
        assert identical(fields_of(context), before)
        assert [delta.patch() for delta in saves] == frozen
        return
    assert expected is None
    state, rebased = found
    assert state.to_json() == their_deltas[-1].snapshot.to_json()
    context._position.snapshot = rebased[-1].snapshot if rebased else state
    assert identical(fields_of(context), model.document)
    # The patches lead from their state to the present one, and so they do after they were given back.
    follows(state, rebased, context, model.document)


def follows(state: Snapshot, rebased: list[Delta], context: SwisperContext, expected: Document) -> None:
    document = json.loads(state.to_json())
    for delta in rebased:
        document = apply(document, json.loads(delta.patch()))
        assert identical(document, json.loads(delta.snapshot.to_json()))
    for delta in reversed(rebased):
        delta.restore(context.__dict__)
    context._position.snapshot = state
    again = save(context)
    document = json.loads(state.to_json())
    if again is not None:
        document = apply(document, json.loads(again.patch()))
        assert identical(document, json.loads(again.snapshot.to_json()))
    assert identical(document, expected)


def test_both_sides_stand_in_the_context_in_the_same_containers() -> None:
    base = start()
    theirs = saved(at(base), ("say", message("theirs")), ("wish", "new", [1]), ("number", 5), ("ask", "fridge"))
    ours = at(base)
    history, wishes, inner = ours.conversation_history, ours.soft_preferences, ours.soft_preferences["0"]
    assert ours.product_query == ""
    mine = saved(ours, ("say", message("ours")), ("wish", "turns", 8))
    change(ours, ("say", message("later")))
    change(ours, ("wish", "-", 2))
    [rebased] = merged(base, [theirs], [mine], ours)
    assert ours.conversation_history is history
    assert [record.message_id for record in history[4:]] == ["theirs", "ours", "later"]
    assert ours.soft_preferences is wishes
    assert wishes["0"] is inner
    assert inner == [1, [2], FILLER, 5]
    assert (wishes["turns"], wishes["-"], wishes["new"]) == (8, 2, [1])
    assert ours.product_query == "fridge"
    assert [operation["path"] for operation in json.loads(rebased.patch())] == [
        "/conversation_history/-",
        "/soft_preferences/turns",
    ]
    later = save(ours)
    assert later is not None
    assert [operation["path"] for operation in json.loads(later.patch())] == [
        "/conversation_history/-",
        "/soft_preferences/-",
    ]
    assert save(ours) is None


def test_an_untouched_context_takes_over_what_others_saved() -> None:
    base = start()
    theirs = saved(at(base), ("remove", 0), ("wishes", 1), ("go", "busy"), ("consent", False))
    ours = at(base)
    history, wishes, state = ours.conversation_history, ours.soft_preferences, ours.current_state
    assert state == "idle"
    assert merged(base, [theirs], [], ours) == []
    assert (len(history), wishes, ours.current_state) == (3, {"all": 1}, "busy")
    assert save(ours) is None


@pytest.mark.parametrize(
    ("theirs", "ours", "reason", "paths"),
    [
        (("wish", "turns", 8), ("wish", "turns", 8), "overlap", ("/soft_preferences/turns",)),
        (("wish", "-", 8), ("wish", "0", 9), None, ()),
        (("insert", 0, message("new")), ("replace", 3, message("m3")), "overlap", ("/conversation_history",)),
        (("consent", False), ("say", message("new")), "barrier", ("/consent_status",)),
        (("say", message("new")), ("consent", False), "barrier", ("/consent_status",)),
        (("go", "busy"), ("go", "done"), "overlap", ("/current_state",)),
        (("say", {"tool_calls": [{"id": "a"}]}), ("say", message("new")), "tool_calls", ("/conversation_history",)),
        (("number", 1), ("number", 2), None, ()),
        (("number", 1), ("first number", 2), "overlap", ("/soft_preferences/0",)),
    ],
)
def test_two_edits(theirs: Edit, ours: Edit, reason: str | None, paths: tuple[str, ...]) -> None:
    base = start()
    context = at(base)
    mine = saved(context, ours)
    found = put_under(base, [saved(at(base), theirs)], [mine], context)
    if reason is None:
        assert not isinstance(found, Conflict)
    else:
        assert (found.reason, found.paths) == (reason, paths)
        assert repr(found) == f"<Conflict: {reason}>"


def test_an_edit_of_a_record_without_id_merges_with_nothing() -> None:
    base = start({"role": "user"}, {"role": "user", "content": "x"})
    context = at(base)
    found = put_under(base, [saved(at(base), ("ask", "fridge"))], [saved(context, ("remove", 1))], context)
    assert (found.reason, found.paths) == ("unidentified", ("/conversation_history",))


@pytest.mark.parametrize(
    ("epochs", "etag", "spoil", "reason"),
    [
        ((0, 1), (1, TOKEN), lambda body: body, "barrier"),
        ((0, 0), (1, TOKEN), lambda body: None, "too_old"),
        ((0, 0), (1, b"x" * 16), lambda body: body, "too_old"),
        ((0, 0), (0, TOKEN), lambda body: body, "too_old"),
    ],
)
def test_where_the_log_does_not_lead_on(
    epochs: tuple[int, int], etag: tuple[int, bytes], spoil: Callable[[bytes], bytes | None], reason: str
) -> None:
    base = start()
    [(version, body)] = frames_of([saved(at(base), ("ask", "fridge"))])
    assert body is not None
    found = rebase(base, [], {}, SESSION, epochs, etag, [(version, spoil(body))])
    assert isinstance(found, Conflict)
    assert (found.reason, found.paths) == (reason, ())


def test_one_list_in_two_places_becomes_two() -> None:
    base = start()
    ours = at(base)
    shared = [1]
    mine = saved(ours, ("wish", "one", shared), ("wish", "two", shared))
    theirs = saved(at(mine.snapshot), ("wish", "one", [1, 2]))
    assert merged(mine.snapshot, [theirs], [], ours) == []
    assert ours.soft_preferences["one"] is shared
    assert (ours.soft_preferences["one"], ours.soft_preferences["two"]) == ([1, 2], [1])


@pytest.mark.parametrize("nested", [False, True])
def test_one_dict_in_two_fields_becomes_two(nested: bool) -> None:
    base = start()
    ours = at(base)
    shared = {"a": 1}
    ours.metadata = {"it": [shared]} if nested else shared
    ours.soft_preferences = ours.buffer_store = shared
    mine = saved(ours)
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    ours.hard_constraints = cyclic
    theirs = saved(at(mine.snapshot), ("wish", "b", 2))
    assert merged(mine.snapshot, [theirs], [], ours) == []
    assert ours.soft_preferences == {"a": 1, "b": 2}
    assert shared == {"a": 1}
    assert ours.metadata == ({"it": [shared]} if nested else shared)
    assert ours.buffer_store is shared


def test_one_dict_in_two_fields_that_others_have_changed_becomes_two() -> None:
    base = start()
    ours = at(base)
    ours.metadata = ours.soft_preferences = shared = {"a": 1}
    mine = saved(ours)
    other = at(mine.snapshot)
    other.metadata["b"], other.soft_preferences["c"] = 2, 3
    assert merged(mine.snapshot, [saved(other)], [], ours) == []
    assert (ours.metadata, ours.soft_preferences) == ({"a": 1, "b": 2}, {"a": 1, "c": 3})
    assert ours.metadata is shared or ours.soft_preferences is shared


def test_a_value_that_json_cannot_hold_stops_it_and_changes_nothing() -> None:
    base = start()
    ours = at(base)
    history = ours.conversation_history
    ours.soft_preferences["now"] = {1, 2}
    theirs = saved(at(base), ("say", message("theirs")), ("wish", "turns", 8))
    with pytest.raises(EncodeError, match="soft_preferences/now"):
        put_under(base, [theirs], [], ours)
    assert (len(history), ours.soft_preferences["turns"]) == (4, 7)


def test_records_of_the_class_go_on_as_such() -> None:
    base = start()
    ours = at(base)
    mine = saved(ours, ("say", Message(role="user", content="ours")))
    merged(base, [saved(at(base), ("say", Message(role="user", content="theirs")))], [mine], ours)
    assert ours.conversation_history.select("content")[4:] == [("theirs",), ("ours",)]
