"""What the type checkers must make of the public API; nothing here is run."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

from swisper_ctx import EventName, Message, PipelineSessionManager, PipelineStats, SwisperContext, field
from swisper_ctx.errors import ConflictError, ContextError, DecodeError, EncodeError
from swisper_ctx.log import Etag, VersionInfo


def etag(one: Etag) -> None:
    assert_type(one.version, int)
    assert_type(one.token, bytes)


def errors(encoding: EncodeError, decoding: DecodeError, conflict: ConflictError) -> tuple[ContextError, ...]:
    assert_type(encoding.pointer, str)
    assert_type(decoding.index, int | None)
    assert_type(conflict.expected, Etag | None)
    return encoding, decoding, conflict


class ShopContext(SwisperContext):
    cart: list[str] = field(default_factory=list[str])


async def shopping() -> None:
    async with PipelineSessionManager.open("memory://", ShopContext) as sessions:
        context = await sessions.create_session(user_id="u")
        assert_type(context, ShopContext)
        assert_type(context.cart, list[str])
        assert_type(context.conversation_history[0], Message)
        assert_type(context.conversation_history[1:], list[Message])
        assert_type(context.version, int)
        loaded = await sessions.load_session_context(context.session_id, tail=20)
        assert_type(loaded, ShopContext | None)
        assert_type(await sessions.at_version(context.session_id, 1), ShopContext)
        assert_type((await sessions.history(context.session_id))[0], VersionInfo)


async def two_writers(sessions: PipelineSessionManager[ShopContext], context: ShopContext) -> None:
    async def buy(shop: ShopContext) -> None:
        shop.cart.append("milk")

    assert_type(await sessions.update("s", buy), ShopContext)
    assert_type(await sessions.update("s", lambda shop: shop.cart.clear(), 3, change_id="c"), ShopContext)
    await sessions.refresh(context)


async def plain_sessions() -> None:
    async with PipelineSessionManager.open("sqlite:///s.db") as sessions, sessions.session("s") as context:
        assert_type(context, SwisperContext)
        async with sessions.pipeline(context, "search") as run:
            run.result = [1]


async def chatting(sessions: PipelineSessionManager[ShopContext], context: ShopContext) -> None:
    assert_type(context.chat(last=20), list[dict[str, Any]])
    with context.draft("assistant", metadata={"model": "m"}) as draft:
        draft.write("a")
        assert_type(draft.text, str)
    assert_type(context.conversation_history.index_of("id"), int)
    assert_type(await sessions.performance.get_or_compute("key", numbers, context=context), list[int])
    assert_type(sessions.performance.stats(), dict[str, PipelineStats])


async def numbers() -> list[int]:
    return [1]


def listening(told: list[EventName]) -> None:
    def on_event(name: EventName, details: dict[str, int | float | str]) -> None:
        told.append(name)

    assert_type(PipelineSessionManager.open("memory://", on_event=on_event), PipelineSessionManager[SwisperContext])


def set_by_the_store(context: ShopContext) -> None:
    assert_type(context.session_id, str)
    assert_type(context.created_at, datetime | None)
    context.session_id = "s"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    context.user_id = "u"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    context.created_at = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    context.updated_at = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    context.version = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def fields_by_keyword() -> ShopContext:
    return ShopContext(user_id="u", cart=["milk"], product_query="fridge")
