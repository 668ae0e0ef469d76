"""The rules of two writers over small states, as the protocol model has them: what a change does, and when it merges.

An operation is a tuple: (kind, field, value, ...). It is applied to a `State` here and to a context there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from swisper_ctx import Message, Product, SwisperContext

Op = tuple[Any, ...]
Patch = tuple[Op, ...]


class State(NamedTuple):
    """What these tests look at of a session: `log` are its messages, `refs` its constraints, `tags` its products."""

    log: tuple[tuple[str, str], ...] = ()
    refs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ("x", "y", "z")
    a: int = 0
    b: int = 0
    status: str = "idle"
    consent: bool = True


def apply(state: State, patch: Patch) -> State:
    """The state after a change."""
    for kind, field, *rest in patch:
        value = getattr(state, field)
        if kind == "append":
            value = (*value, rest[0])
        elif kind == "set":
            value = rest[0]
        elif kind == "remove":
            value = value[: rest[0]] + value[rest[0] + 1 :]
        elif kind == "replace":
            value = (*value[: rest[0]], rest[1], *value[rest[0] + 1 :])
        state = state._replace(**{field: value})
    return state


def is_open(log: Sequence[tuple[str, str]]) -> bool:
    """Whether a call of a tool waits for its answer."""
    said = [what for _, what in log]
    return said.count("call") > said.count("result")


def merges(state: State, theirs: Sequence[Patch], ours: Patch) -> bool:
    """Whether a change made on a state may follow on those that others have made of it since."""
    now = state
    for patch in theirs:
        now = apply(now, patch)
    others = [op for patch in theirs for op in patch]
    if any(op[1] == "consent" for op in (*ours, *others)):
        return not others
    pairs = [(a, b) for a in ours for b in others if a[1] == b[1]]
    if any((a[0], b[0]) != ("append", "append") for a, b in pairs):
        return False
    return not (any(a[1] == "log" for a, _ in pairs) and (is_open(state.log) or is_open(now.log)))


def edit(context: SwisperContext, patch: Patch) -> None:
    """Make the change in a context."""
    for kind, field, *rest in patch:
        if field == "log":
            say(context, kind, *rest)
        elif field == "refs":
            context.hard_constraints.append(rest[0])
        elif kind == "remove":
            del context.search_results[rest[0]]
        elif kind == "replace":
            context.search_results[rest[0]] = context.search_results[rest[0]].replace(name=rest[1])
        elif field == "status":
            context.transition_to(rest[0], {context.current_state: [rest[0]]})
        elif field == "consent":
            context.consent_status["memory"] = rest[0]
        else:
            context.metadata[field] = rest[0]


def say(context: SwisperContext, kind: str, *rest: Any) -> None:
    history = context.conversation_history
    who, what = rest[-1]
    if kind == "replace":
        history[rest[0]] = history[rest[0]].replace(name=who, content=what)
    elif what == "call":
        history.append(Message("assistant", what, name=who, tool_calls=[{"id": who}]))
    elif what == "result":
        history.append(Message("tool", what, name=who, tool_call_id=who))
    else:
        history.append(Message("user", what, name=who))


def begin(session_id: str, state: State) -> SwisperContext:
    """A new context that shows this state."""
    context = SwisperContext(session_id=session_id, user_id="u", metadata={"a": state.a, "b": state.b})
    context.consent_status, context.current_state = {"memory": state.consent}, state.status
    context.hard_constraints = [*state.refs]
    context.search_results = [Product(product_id=str(n), name=tag) for n, tag in enumerate(state.tags)]  # type: ignore[assignment]
    edit(context, tuple(("append", "log", message) for message in state.log))
    return context


def shown(context: SwisperContext) -> State:
    """What a context shows."""
    metadata = context.metadata
    return State(
        tuple((str(message.name), str(message.content)) for message in context.conversation_history),
        tuple(context.hard_constraints),
        tuple(str(product.name) for product in context.search_results),
        metadata["a"],
        metadata["b"],
        context.current_state,
        context.consent_status["memory"],
    )
