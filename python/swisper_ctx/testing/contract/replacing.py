"""Putting other bytes in the place of those that are kept, as under another key."""

from __future__ import annotations

from swisper_ctx.log import StoredBody
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import append, committed, grow, moved, new_block


class ReplaceContract:
    """Putting other bytes in the place of those that are kept, as under another key."""

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        raise NotImplementedError

    async def test_every_body_can_be_replaced(self, store: SessionStore) -> None:
        now = await grow(store, "s", 4)
        old = new_block("history", 0, 9, b"old block")
        await moved(store, "s", 2, added=[old])
        await moved(store, "s", 3, added=[new_block("history", 0, 10, b"new block")], dropped=[old.block_id])
        await grow(store, "t", 2)
        bodies, others = await store.bodies("s"), await store.bodies("t")
        assert sorted(body.kind for body in bodies) == ["block"] * 2 + ["frame"] * 4 + ["head"] * 3
        assert await store.replace("s", [(body, b"other " + body.body) for body in bodies]) == len(bodies)
        assert set(await store.bodies("s")) == {body._replace(body=b"other " + body.body) for body in bodies}
        assert await store.bodies("t") == others
        assert await store.etags(["s"]) == {"s": now}
        await committed(store, append("s", now))

    async def test_only_what_is_still_the_same_is_replaced(self, store: SessionStore) -> None:
        await grow(store, "s", 3)
        await moved(store, "s", 2, added=[new_block("history", 0, 9)])
        bodies = await store.bodies("s")
        wrong = [body._replace(body=body.body + b"!") for body in bodies]
        absent = [StoredBody("head", bytes(16), b"x"), StoredBody("block", bytes(16), b"x")]
        absent.append(StoredBody("frame", 9, b"x"))
        assert await store.replace("s", [(body, b"lost") for body in [*wrong, *absent]]) == 0
        assert await store.bodies("s") == bodies
        assert await store.replace("s", [(bodies[0], b"won"), (wrong[1], b"lost")]) == 1
        assert set(await store.bodies("s")) == {bodies[0]._replace(body=b"won"), *bodies[1:]}

    async def test_a_session_that_is_not_there_has_no_bodies(self, store: SessionStore) -> None:
        assert await store.bodies("s") == ()
        assert await store.replace("s", [(StoredBody("frame", 1, b"x"), b"y")]) == 0
        assert await store.etags(["s"]) == {}
