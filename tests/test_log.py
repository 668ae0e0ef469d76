"""The tuples of the session log, as logs and tracebacks show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from swisper_ctx import Message, PipelineExecution, SwisperContext
from swisper_ctx.log import (
    Change,
    Checkpoint,
    Frame,
    Head,
    Remains,
    Restoration,
    SessionCopy,
    StoredBody,
    StoredSession,
)
from swisper_ctx.stores.committer import Answered
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing.changes import folded

SECRET = "what the user said"


class Watched(MemorySessionStore):
    """Keeps what it is asked to write."""

    shows_copies = True

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Change | Checkpoint | Restoration] = []

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        self.written += changes
        super().begin_commit(changes, answered)

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        self.written.append(checkpoint)
        return await super().checkpoint(checkpoint)

    async def restore(self, restoration: Restoration) -> bool:
        self.written.append(restoration)
        return await super().restore(restoration)


async def everything() -> list[Change | Checkpoint | Restoration | StoredSession | Remains | StoredBody]:
    """Whatever of a session is handed to a store and given by it."""
    store = Watched()
    context = SwisperContext(session_id="s", user_id="u")
    context.conversation_history.append(Message(role="user", content=SECRET))
    context.pipeline_executions.append(PipelineExecution(pipeline_name="p", result=SECRET, metrics={"said": SECRET}))
    context.metadata["said"] = SECRET
    await store.save_session(context, change_id="c")
    assert await folded(store, context)
    context.product_query = SECRET
    await store.save_session(context)
    stored, remains = await store.read("s"), await store.remains("s")
    assert stored is not None
    assert remains is not None
    frames = store._sessions["s"].frames
    frames[-1] = frames[-1]._replace(body=b"damaged " + SECRET.encode())
    bodies = await store.bodies("s")
    await store.recover("s")
    return [*store.written, stored, remains, *bodies]


async def test_no_tuple_shows_what_a_session_says() -> None:
    found = await everything()
    shown = [repr(each) for each in found]
    assert {text.split("(")[0] for text in shown} == {
        "Change",
        "Checkpoint",
        "Remains",
        "Restoration",
        "StoredBody",
        "StoredSession",
    }
    content = [SECRET, *(repr(each.body)[2:-1] for each in found if isinstance(each, StoredBody))]
    assert not [text for text in shown if any(part in text for part in content)]


def test_a_size_stands_in_the_place_of_a_body() -> None:
    assert repr(Frame(1, b"t", "c", 5, None)) == "Frame(version=1, token=b't', change_id='c', time=5, body=None)"
    assert repr(Head(0, b"s", b"abc")) == "Head(base=0, stamp=b's', body=<3 bytes>)"
    assert repr(SessionCopy("u", "abc")) == "SessionCopy(user_id='u', content=<3 characters>)"
    assert repr(StoredBody("frame", 1, cast(bytes, 5))) == "StoredBody(kind='frame', key=1, body=<int>)"
