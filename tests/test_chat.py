"""The last messages in the form of chat APIs, against a slow reference that looks at the whole history."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stores.test_tail import LENGTH, long_session, tail_of
from tests.values import identical, objects, values

from swisper_ctx import Message, NotLoadedError, Product, RecordList, SwisperContext
from swisper_ctx._core import chat_form
from swisper_ctx.stores.memory import MemorySessionStore

CHAT_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id")
KINDS = ("said", "called", "answered", "answered by role", "called nothing")


def message(kind: str, number: int) -> dict[str, Any]:
    """A message as a client sends it, with what chat APIs do not know beside it."""
    call = {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    kinds: dict[str, dict[str, Any]] = {
        "said": {"role": "user", "content": f"{number}"},
        "called": {"role": "assistant", "content": None, "tool_calls": [call]},
        "answered": {"role": "tool", "content": "4", "tool_call_id": f"c{number}"},
        "answered by role": {"role": "tool", "content": "4", "name": "f"},
        "called nothing": {"role": "assistant", "content": "so", "tool_calls": [], "tool_call_id": None},
    }
    return kinds[kind]


def groups(kinds: list[str]) -> list[range]:
    """Runs of calls with the answers behind them."""
    found, at = [], 0
    while at < len(kinds):
        begin = at
        while at < len(kinds) and kinds[at] == "called":
            at += 1
        if at > begin:
            while at < len(kinds) and kinds[at].startswith("answered"):
                at += 1
            found.append(range(begin, at))
        else:
            at += 1
    return found


def reference(kinds: list[str], last: int) -> int:
    """Where the last messages begin."""
    start = max(len(kinds) - last, 0)
    return next((group[0] for group in groups(kinds) if start in group), start)


@given(kinds=st.lists(st.sampled_from(KINDS), max_size=25), last=st.integers(0, 30))
def test_it_gives_the_last_messages_and_never_starts_inside_a_group(kinds: list[str], last: int) -> None:
    sent = [message(kind, number) for number, kind in enumerate(kinds)]
    context = SwisperContext()
    for one in sent:
        context.conversation_history.append({**one, "message_id": "m", "metadata": {"a": 1}, "own": True})
    assert context.chat() == sent
    assert context.chat(last=last) == sent[reference(kinds, last) :]


@given(extra=objects, known=st.dictionaries(st.sampled_from(CHAT_KEYS), values))
def test_a_message_gives_those_of_the_keys_that_it_has(extra: dict[str, Any], known: dict[str, Any]) -> None:
    message = Message.from_dict({**extra, **known, "metadata": {"role": "none"}})
    expected = {key: value for key, value in message.to_dict().items() if key in CHAT_KEYS}
    assert identical(chat_form(message), expected)


def test_what_is_no_message_has_no_such_form() -> None:
    with pytest.raises(TypeError, match="a Message was expected, not Product"):
        chat_form(Product("p"))  # type: ignore[arg-type]


def test_an_answer_whose_call_is_nowhere_takes_nothing_with_it() -> None:
    history = [message("said", 0), *(message("answered", n) for n in range(3))]
    context = SwisperContext(conversation_history=RecordList(Message, [Message(**one) for one in history]))
    assert context.chat(last=2) == history[2:]


def test_what_it_gives_is_the_callers_own() -> None:
    context = SwisperContext()
    context.conversation_history.append(Message("user", [{"type": "text", "text": "hi"}]))
    given = context.chat(last=1)
    given[0]["content"][0]["text"] = "changed"
    given.append({"role": "system", "content": "be short"})
    assert context.chat() == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        SwisperContext().chat(last=-1)


def test_it_reads_only_what_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    history = RecordList(Message, [Message("user", str(number)) for number in range(1000)])
    history.extend(Message(**message(kind, 0)) for kind in ("called", "answered", "said"))
    read = 0

    class Counting:
        """A history that counts the records that are taken out of it."""

        def __len__(self) -> int:
            return len(history)

        def __getitem__(self, index: Any) -> Any:
            nonlocal read
            found = history[index]
            read += len(found) if isinstance(found, list) else 1
            return found

    from swisper_ctx.chat import chat

    assert len(chat(Counting(), 2)) == 3  # type: ignore[arg-type]
    assert read <= 3 + 4


async def test_of_a_history_loaded_in_part_it_needs_only_the_part() -> None:
    store = MemorySessionStore()
    whole = await long_session(store)
    context = await tail_of(store, whole, 5)
    assert context.chat(last=5) == whole.chat()[-5:]
    with pytest.raises(NotLoadedError, match="load_history"):
        context.chat()
    await context.load_history()
    assert len(context.chat(last=LENGTH)) == LENGTH
    await store.aclose()


async def test_a_group_that_reaches_into_what_was_left_in_the_store_is_not_cut() -> None:
    store = MemorySessionStore()
    whole = SwisperContext(user_id="u")
    await store.save_session(whole)
    whole.conversation_history.append(message("called", 0))
    for number in range(2000):
        whole.conversation_history.append({**message("answered", number), "name": Random(number).randbytes(250).hex()})
    await store.save_session(whole)
    await store._checkpointer.settle()
    context = await store.load_session(whole.session_id, tail=5)
    assert context is not None
    with pytest.raises(NotLoadedError):
        context.chat(last=5)
    await context.load_history()
    assert len(context.chat(last=5)) == 2001
    await store.aclose()
