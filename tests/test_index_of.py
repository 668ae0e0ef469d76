"""Finding a record by its id, from the end and without building records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stores.test_tail import LENGTH, long_session, tail_of
from tests.values import keys

from swisper_ctx import Message, NotLoadedError, PIIEntity, PipelineExecution, Product, RecordList
from swisper_ctx.stores.memory import MemorySessionStore


@given(ids=st.lists(st.text(max_size=4) | keys, max_size=30), other=st.text(max_size=4))
def test_it_is_the_index_of_the_last_record_with_the_id(ids: list[str], other: str) -> None:
    history = RecordList(Message, [Message("user", message_id=one) for one in ids])
    for one in {*ids, other}:
        if one in ids:
            assert history.index_of(one) == len(ids) - 1 - ids[::-1].index(one)
        else:
            with pytest.raises(ValueError, match="no record in the list has this id"):
                history.index_of(one)


def test_an_id_is_found_however_it_is_escaped() -> None:
    history = RecordList(Message, [Message.from_json(rb'{"role":"user","message_id":"\u0061\u00e9\ud83d\ude00\""}')])
    assert history.index_of('aé😀"') == 0


def test_records_without_an_id_or_with_another_type_are_passed_over() -> None:
    history = RecordList(Message, [{"message_id": "a"}, {"role": "user"}, {"message_id": 151}, {"message_id": None}])
    assert history.index_of("a") == 0
    for none in ("5", "151", "null", "ul", ""):
        with pytest.raises(ValueError, match="no record"):
            history.index_of(none)


def test_each_class_has_its_own_id() -> None:
    assert RecordList(Product, [Product("p-1"), Product("p-2")]).index_of("p-1") == 0
    assert RecordList(PipelineExecution, [PipelineExecution("search", execution_id="e")]).index_of("e") == 0
    with pytest.raises(ValueError, match="no record"):
        RecordList(PIIEntity, [{"message_id": "m", "": "m"}]).index_of("m")


def test_it_follows_edits_across_segments() -> None:
    history = RecordList(Message, [Message("user", "x" * 200, message_id=str(n)) for n in range(2000)])
    del history[500:600]
    history.insert(0, Message("user", message_id="first"))
    assert [history.index_of(one) for one in ("first", "0", "499", "600", "1999")] == [0, 1, 500, 501, 1900]
    with pytest.raises(ValueError, match="no record"):
        history.index_of("550")


async def test_of_the_last_records_it_needs_no_others() -> None:
    store = MemorySessionStore()
    context = await tail_of(store, await long_session(store), 5)
    history = context.conversation_history
    near, far = history[-3].message_id, "of an earlier one"
    assert near is not None
    assert history.index_of(near) == LENGTH - 2
    with pytest.raises(NotLoadedError):
        history.index_of(far)
    await context.load_history()
    with pytest.raises(ValueError, match="no record"):
        history.index_of(far)
    first = history[0].message_id
    assert first is not None
    assert history.index_of(first) == 0
    await store.aclose()
