"""Lives the life of one session and counts what is written: `python -m benches.live DIRECTORY MESSAGES BUFFER`.

Each save has SAID new messages and a new entry in `buffer_store`, which grows to BUFFER bytes. Prints as JSON the bytes
that changed, those of the frames, heads and blocks that the store was given, and those that reached the disk.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from benches.conversation import METADATA, TIMESTAMP, texts

from swisper_ctx import Message, PipelineSessionManager, SQLiteSessionStore, SwisperContext
from swisper_ctx.cli.meter import counter
from swisper_ctx.log import Change, Checkpoint, CommitResult

SAID = 10


class CountingStore(SQLiteSessionStore):
    """Counts the bytes of what it is given."""

    given = 0

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        self.given += sum(len(change.frame) + len(change.head.body if change.head else b"") for change in changes)
        return await super().commit(changes)

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        self.given += len(checkpoint.head.body) + sum(len(block.body or b"") for block in checkpoint.added)
        return await super().checkpoint(checkpoint)


async def live(file: Path, messages: int, buffer: int) -> dict[str, int]:
    store, said, changed = CountingStore(file), cycle(texts()), 0
    context = SwisperContext(user_id="u-17")
    async with PipelineSessionManager(store) as sessions:
        for number in range(messages // SAID):
            for _ in range(SAID):
                message = Message(role="user", content=next(said), timestamp=TIMESTAMP, metadata=METADATA)
                context.conversation_history.append(message)
                changed += len(message.to_json()) + 1
            key, note = f"note_{number}", next(said) * 4
            note = note[: buffer * SAID // messages]
            context.buffer_store[key] = note
            changed += len(json.dumps({key: note}))
            await sessions.save(context)
        await store._checkpointer.settle()
        found = await sessions.load_session_context(context.session_id)
        assert found is not None
        assert found.conversation_history == context.conversation_history
        assert found.buffer_store == context.buffer_store
        assert len(found.conversation_history) == messages
    return {"changed": changed, "given": store.given}


def main(directory: Path, messages: int, buffer: int) -> None:
    before = counter("write_bytes")
    counts = asyncio.run(live(directory / "sessions.db", messages, buffer))
    print(json.dumps({**counts, "sent": counter("write_bytes") - before}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
