"""What is kept at rest: nothing of what was deleted, and nothing damaged that would be taken for sound."""

from __future__ import annotations

from typing import ClassVar

import pytest

from swisper_ctx._core import Message
from swisper_ctx.context import SwisperContext, serialize_context
from swisper_ctx.errors import ContextError, CorruptSessionError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import folded, grow, moved, new_block


class DamageContract:
    """What is kept at rest: nothing of what was deleted, and nothing damaged that would be taken for sound."""

    damage_error: ClassVar[type[ContextError]] = CorruptSessionError
    """What a store raises for bytes that are not what it wrote."""

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        """The bodies of all heads, blocks and frames, as they are kept; read past the store."""
        raise NotImplementedError

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        """Write `new` in the place of the body that is `old`, past the store."""
        raise NotImplementedError

    async def test_deleted_sessions_leave_nothing_at_rest(self, store: SessionStore) -> None:
        await grow(store, "s", 3)
        await moved(store, "s", 2, added=[new_block("history", 0, 1)])
        assert len(await self.raw_read(store)) > 3
        await store.delete(["s"])
        assert await self.raw_read(store) == []

    @pytest.mark.parametrize("kind", ["head", "block", "frame"])
    @pytest.mark.parametrize("change", ["a byte", "the end", "another session's"])
    async def test_damage_names_its_session_and_hurts_no_other(
        self, store: SessionStore, kind: str, change: str
    ) -> None:
        sound, hurt = [await self.session(store, name) for name in ("sound", "hurt")]
        mine, other = [(await self.bodies(store, context))[kind] for context in (hurt, sound)]
        wrong = {"a byte": mine[:-1] + bytes([mine[-1] ^ 1]), "the end": mine[:-2], "another session's": other}
        await self.raw_write(store, mine, wrong[change])
        with pytest.raises(self.damage_error) as caught:
            serialize_context(await self.loaded(store, "hurt"))
        assert getattr(caught.value, "session_id", "hurt") == "hurt"
        assert serialize_context(await self.loaded(store, "sound")) == serialize_context(sound)
        assert await store.delete_session("hurt")

    @pytest.mark.parametrize("kind", ["old head", "old block", "frame"])
    async def test_damage_of_an_old_version_leaves_the_newest_and_other_sessions(
        self, store: SessionStore, kind: str
    ) -> None:
        sound, hurt = [await self.session(store, name) for name in ("sound", "hurt")]
        mine = (await self.bodies(store, hurt))[kind.removeprefix("old ")]
        hurt.conversation_history[0] = Message(role="user", content="other words")
        assert await self.saved_and_folded(store, hurt)
        await self.raw_write(store, mine, mine[:-1] + bytes([mine[-1] ^ 1]))
        assert serialize_context(await self.loaded(store, "hurt")) == serialize_context(hurt)
        with pytest.raises(self.damage_error):
            serialize_context(await store.at_version("hurt", 2))
        if kind == "frame":
            with pytest.raises(self.damage_error):
                await store.history("hurt")
        assert serialize_context(await store.at_version("hurt", 3)) == serialize_context(hurt)
        assert serialize_context(await store.at_version("sound", 2)) == serialize_context(sound)
        assert len(await store.history("sound")) == 2

    async def saved_and_folded(self, store: SessionStore, context: SwisperContext) -> bool:
        await store.save_session(context)
        return await folded(store, context)

    async def session(self, store: SessionStore, session_id: str) -> SwisperContext:
        """A session with a head, blocks, and a frame after them."""
        context = SwisperContext(session_id=session_id, user_id="u")
        context.conversation_history.append(Message(role="user", content="a word"))
        await store.save_session(context)
        assert await folded(store, context)
        context.conversation_history.append(Message(role="user", content="another"))
        await store.save_session(context)
        return context

    async def bodies(self, store: SessionStore, context: SwisperContext) -> dict[str, bytes]:
        """One body of each kind, as it is kept."""
        stored = await store.read(context.session_id)
        assert stored is not None
        assert stored.head is not None
        block = next(block for block in stored.blocks if block.field == "conversation_history")
        assert isinstance(block.body, bytes)
        frame = stored.frames[-1].body
        assert frame is not None
        return {"head": stored.head.body, "block": block.body, "frame": frame}

    async def loaded(self, store: SessionStore, session_id: str) -> SwisperContext:
        """The context of a session that exists."""
        context = await store.load_session(session_id)
        assert context is not None
        return context
