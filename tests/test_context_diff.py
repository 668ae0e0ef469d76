from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.values import identical

from swisper_ctx import (
    ContextError,
    MemorySessionStore,
    Message,
    NotLoadedError,
    Patch,
    PatchError,
    PipelineSessionManager,
    PrivacyError,
    Product,
    RecordList,
    SwisperContext,
    apply_patch,
    deserialize_context,
    diff,
    field,
    serialize_context,
)
from swisper_ctx.context import METADATA


def message(number: int, content: str = "hello") -> Message:
    return Message(role="user", content=f"{content} {'x' * 300}", message_id=f"m-{number}")


def content(context: SwisperContext) -> dict[str, Any]:
    return {name: value for name, value in serialize_context(context).items() if name not in METADATA}


def check(source: SwisperContext, target: SwisperContext) -> Patch:
    """The patch between them, which the same content as objects takes, and a context in both directions."""
    before, after = content(source), content(target)
    patch = diff(source, target)
    assert identical(jsonpatch.apply_patch(before, list(patch)), after, ordered=False)
    assert identical(apply_patch(before, patch), after, ordered=False)
    patched = apply_patch(source, patch)
    assert identical(content(patched), after, ordered=False)
    assert identical(content(apply_patch(patched, patch.invert(source))), before, ordered=False)
    assert identical(content(source), before)
    assert identical(content(target), after)
    return patch


def edit(context: SwisperContext, number: int, kind: str) -> None:
    history = context.conversation_history
    match kind:
        case "append":
            history.append(message(number))
        case "insert":
            history.insert(len(history) // 2, message(number))
        case "delete" if history:
            del history[number % len(history)]
        case "replace" if history:
            history[number % len(history)] = history[number % len(history)].replace(content=f"edited {number}")
        case "move" if len(history) > 1:
            moved = history.pop(number % len(history))
            history.insert(number * 7 % len(history), moved)
        case "dict":
            context.soft_preferences[f"key {number % 3}"] = {"n": number, "f": 1.0}
        case "value":
            context.current_state = f"state {number % 2}"
        case "clear":
            history.clear()


kinds = st.sampled_from(["append", "insert", "delete", "replace", "move", "dict", "value", "clear"])


@given(st.integers(0, 400), st.lists(kinds, max_size=6), st.lists(kinds, max_size=6), st.booleans())
def test_contexts_of_one_lineage_and_of_none(size: int, first: list[str], second: list[str], saved: bool) -> None:
    source = SwisperContext(user_id="u-17")
    source.conversation_history.extend(message(number) for number in range(size))
    if saved:
        source._freeze()
    for number, kind in enumerate(first):
        edit(source, 1000 + number, kind)
    target = apply_patch(source, Patch())
    assert diff(source, target) == Patch()
    for number, kind in enumerate(second):
        edit(target, 2000 + number, kind)
    patch = check(source, target)
    independent = deserialize_context(serialize_context(target))
    assert diff(independent, target) == Patch()
    assert identical(apply_patch(content(source), check(source, independent)), content(target), ordered=False)
    assert len(patch) <= 2 * len(second) + 2


async def test_a_patched_context_is_saved_as_what_the_patch_changed() -> None:
    async with PipelineSessionManager(MemorySessionStore()) as sessions:
        context = await sessions.create_session(user_id="u-17")
        context.conversation_history.extend(message(number) for number in range(300))
        await sessions.save(context)
        patch = Patch(
            [
                {"op": "replace", "path": "/conversation_history/7/content", "value": "edited"},
                {"op": "add", "path": "/conversation_history/-", "value": {"role": "user", "message_id": "new"}},
                {"op": "add", "path": "/soft_preferences/noise", "value": 35},
            ]
        )
        patched = apply_patch(context, patch)
        assert type(patched) is SwisperContext
        assert patched.etag == context.etag
        assert patched.session_id == context.session_id
        assert len(context.conversation_history) == 300
        assert context.soft_preferences == {}
        delta = apply_patch(context, patch)._freeze()
        assert delta is not None
        written = json.loads(delta.patch())
        assert [operation["op"] for operation in written] == ["test", "replace", "add", "add"]
        await sessions.save(patched)
        found = await sessions.load_session_context(context.session_id)
        assert found is not None
        assert diff(found, patched) == Patch()
        assert sorted(map(str, diff(context, found))) == sorted(map(str, patch))
        assert found.conversation_history[7].content == "edited"
        assert found.soft_preferences == {"noise": 35}


async def test_a_context_whose_save_is_on_its_way_is_not_patched() -> None:
    async with PipelineSessionManager(MemorySessionStore()) as sessions:
        context = await sessions.create_session(user_id="u-17")
        context.soft_preferences["a"] = 1
        saving = asyncio.ensure_future(sessions.save(context))
        await asyncio.sleep(0)
        assert context._position.saves
        with pytest.raises(ContextError, match="on its way"):
            apply_patch(context, Patch())
        await saving
        assert apply_patch(context, Patch()).soft_preferences == {"a": 1}


async def test_blocks_that_both_left_in_the_store_are_not_fetched() -> None:
    store = MemorySessionStore()
    context = SwisperContext(user_id="u-17")
    # Random, or the frames would be so small that no checkpoint is due.
    texts = Random(17)
    await store.save_session(context)
    context.conversation_history.extend(message(number, texts.randbytes(200).hex()) for number in range(1_000))
    await store.save_session(context)
    await store._checkpointer.settle()
    first, second = [await store.load_session(context.session_id, tail=5) for _ in range(2)]
    assert first is not None
    assert second is not None
    second.conversation_history.append(message(5_000))
    with pytest.raises(NotLoadedError):
        first.conversation_history[0]
    assert [operation["path"] for operation in diff(first, second)] == ["/conversation_history/-"]
    assert len(apply_patch(first, diff(first, second)).conversation_history) == 1_001
    assert diff(first, context) == Patch()
    with pytest.raises(NotLoadedError):
        diff(first, deserialize_context(serialize_context(context)))


class Shop(SwisperContext):
    cart: list[str] = field(default_factory=list)


def test_fields_that_one_of_them_lacks() -> None:
    shop, plain = Shop(user_id="u"), SwisperContext(user_id="u")
    shop.cart.append("fridge")
    assert list(diff(plain, shop)) == [{"op": "add", "path": "/cart", "value": ["fridge"]}]
    assert list(diff(shop, plain)) == [{"op": "remove", "path": "/cart"}]
    wider = apply_patch(plain, diff(plain, shop))
    assert serialize_context(wider)["cart"] == ["fridge"]


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        ({"op": "remove", "path": "/metadata"}, "keeps all its fields"),
        ({"op": "replace", "path": "/conversation_history", "value": 5}, "stays one"),
        ({"op": "add", "path": "/conversation_history/-", "value": 5}, "stays an object"),
        ({"op": "add", "path": "/session_id", "value": "other"}, "set by the store"),
        *(
            ({"op": "add", "path": f"/{name}", "value": {}}, "something else")
            for name in ("chat", "_fields", "__class__")
        ),
        ({"op": "replace", "path": "", "value": 5}, "stays an object"),
        ({"op": "add", "path": "/conversation_history/3", "value": {}}, "no such place"),
    ],
)
def test_what_a_context_cannot_become(operation: dict[str, Any], problem: str) -> None:
    context = SwisperContext(user_id="u")
    context._freeze()
    with pytest.raises(PatchError, match=problem):
        apply_patch(context, Patch([operation]))
    assert context._freeze() is None


def test_values_of_fields_are_checked_as_when_they_are_set() -> None:
    with pytest.raises(PrivacyError, match="data_retention_policy"):
        apply_patch(SwisperContext(), Patch([{"op": "add", "path": "/data_retention_policy", "value": "for ever"}]))


def test_record_lists() -> None:
    source = RecordList(Message, [message(number) for number in range(500)])
    target = RecordList(Message, source)
    target[250] = target[250].replace(content="edited")
    target.insert(100, message(900))
    del target[400]
    patch = diff(source, target)
    assert [operation["op"] for operation in patch] == ["remove", "add", "replace"]
    patched = apply_patch(source, patch)
    assert type(patched) is RecordList
    assert patched.record_class is Message
    assert list(patched) == list(target)
    assert len(source) == 500
    assert list(apply_patch(patched, patch.invert(source))) == list(source)
    for operation in ({"op": "add", "path": "/-", "value": 1}, {"op": "replace", "path": "", "value": {}}):
        with pytest.raises(PatchError):
            apply_patch(source, Patch([operation]))
    with pytest.raises(PatchError) as caught:
        apply_patch(source, Patch([{"op": "remove", "path": "/500"}]))
    assert caught.value.path == "/500"


def test_records() -> None:
    product = Product("p-1", "Fridge", price=749)
    cheaper = product.replace(price=699.0)
    patch = diff(product, cheaper)
    assert list(patch) == [{"op": "replace", "path": "/price", "value": 699.0}]
    assert apply_patch(product, patch) == cheaper
    assert apply_patch(cheaper, patch.invert(product)) == product
    with pytest.raises(PatchError):
        apply_patch(product, Patch([{"op": "replace", "path": "", "value": []}]))
