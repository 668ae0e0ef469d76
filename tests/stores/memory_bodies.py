"""What stands in a memory store, past its operations."""

from __future__ import annotations

from swisper_ctx.stores.memory import MemorySessionStore


def bodies(store: MemorySessionStore) -> list[bytes]:
    found: list[object] = []
    for session in store._sessions.values():
        found += [row.head.body for row in session.heads]
        found += [row.block.body for row in session.blocks]
        found += [frame.body for frame in session.frames]
    return [body for body in found if isinstance(body, bytes)]


def replace_body(store: MemorySessionStore, old: bytes, new: bytes) -> None:
    def changed(body: bytes) -> bytes:
        return new if body == old else body

    assert old in bodies(store)
    for session_id, session in store._sessions.items():
        heads = tuple(row._replace(head=row.head._replace(body=changed(row.head.body))) for row in session.heads)
        blocks = tuple(
            row._replace(
                block=row.block._replace(body=changed(row.block.body) if isinstance(row.block.body, bytes) else None)
            )
            for row in session.blocks
        )
        frames = [frame._replace(body=frame.body and changed(frame.body)) for frame in session.frames]
        store._sessions[session_id] = session._replace(heads=heads, blocks=blocks, frames=frames)


def remove_body(store: MemorySessionStore, old: bytes) -> None:
    assert old in bodies(store)
    for session_id, session in store._sessions.items():
        store._sessions[session_id] = session._replace(
            heads=tuple(row for row in session.heads if row.head.body != old),
            blocks=tuple(row for row in session.blocks if row.block.body != old),
            frames=[frame for frame in session.frames if frame.body != old],
        )
