"""A store that fails when it is told to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from swisper_ctx.errors import OutcomeUnknownError, StoreUnavailableError
from swisper_ctx.log import (
    Block,
    Change,
    Checkpoint,
    CommitResult,
    Etag,
    Frame,
    Remains,
    Restoration,
    SessionPage,
    StoredBody,
    StoredSession,
)
from swisper_ctx.stores.base import SessionStore

Call = Callable[[], Awaitable[Any]]

Fault = Callable[[Call], Awaitable[Any]]
"""Does what becomes of one call, which it is given to perform or not."""

OPERATIONS = (
    "etags",
    "read",
    "read_version",
    "blocks",
    "frames",
    "holds",
    "commit",
    "checkpoint",
    "delete",
    "sessions",
    "remains",
    "restore",
    "bodies",
    "replace",
)


async def passes(call: Call) -> Any:
    """No fault: lets one call through, before others meet theirs."""
    return await call()


def fails(error: Exception | None = None) -> Fault:
    """The call is not performed. StoreUnavailableError unless another error is given."""

    async def fault(call: Call) -> Any:
        raise error or StoreUnavailableError("this fault was injected")

    return fault


def loses(error: Exception | None = None) -> Fault:
    """The call is performed and its answer lost. OutcomeUnknownError unless another error is given."""

    async def fault(call: Call) -> Any:
        await call()
        raise error or OutcomeUnknownError("this fault was injected")

    return fault


def delays(seconds: float) -> Fault:
    """The call is performed so much later."""

    async def fault(call: Call) -> Any:
        await asyncio.sleep(seconds)
        return await call()

    return fault


class Hang:
    """The call waits until `release()`, and is performed then; `reached` is set when it has come here."""

    def __init__(self) -> None:
        self.reached, self._released = asyncio.Event(), asyncio.Event()

    async def __call__(self, call: Call) -> Any:
        self.reached.set()
        await self._released.wait()
        return await call()

    def release(self) -> None:
        """Let it go on."""
        self._released.set()


class FaultyStore(SessionStore):
    """A store around another: each call of an operation meets the next fault that was injected for it, if any.

    Contexts that are saved and loaded here run through the faults too. Closing it releases what hangs and closes
    the store inside. `calls` has the operations called so far, by name and in order.
    """

    def __init__(self, store: SessionStore) -> None:
        super().__init__(clock=store._clock, failpoint=store._failpoint)
        self._stand_before(store)
        self.store = store
        self.calls: list[str] = []
        self._faults: dict[str, deque[Fault]] = {operation: deque() for operation in OPERATIONS}
        self._hanging: set[Hang] = set()

    def inject(self, operation: str, *faults: Fault) -> None:
        """The next calls of `operation` meet these, one each, after those injected before."""
        if operation not in self._faults:
            raise ValueError(f"no operation {operation!r}; there are {', '.join(OPERATIONS)}")
        self._faults[operation].extend(faults)

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        found: dict[str, Etag] = await self._call("etags", lambda: self.store.etags(session_ids))
        return found

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        found: StoredSession | None = await self._call(
            "read", lambda: self.store.read(session_id, after=after, tail=tail)
        )
        return found

    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        found: StoredSession | None = await self._call(
            "read_version", lambda: self.store.read_version(session_id, version)
        )
        return found

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        found: tuple[Block, ...] = await self._call("blocks", lambda: self.store.blocks(session_id, block_ids))
        return found

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        found: tuple[Frame, ...] = await self._call(
            "frames", lambda: self.store.frames(session_id, after=after, limit=limit)
        )
        return found

    async def holds(self, session_id: str, change_id: str) -> bool:
        found: bool = await self._call("holds", lambda: self.store.holds(session_id, change_id))
        return found

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        results: list[CommitResult] = await self._call("commit", lambda: self.store.commit(changes))
        return results

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        written: bool = await self._call("checkpoint", lambda: self.store.checkpoint(checkpoint))
        return written

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        deleted: int = await self._call("delete", lambda: self.store.delete(session_ids, expired=expired))
        return deleted

    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        page: SessionPage = await self._call(
            "sessions", lambda: self.store.sessions(user_id=user_id, expired=expired, cursor=cursor, limit=limit)
        )
        return page

    async def remains(self, session_id: str) -> Remains | None:
        found: Remains | None = await self._call("remains", lambda: self.store.remains(session_id))
        return found

    async def restore(self, restoration: Restoration) -> bool:
        written: bool = await self._call("restore", lambda: self.store.restore(restoration))
        return written

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        found: tuple[StoredBody, ...] = await self._call("bodies", lambda: self.store.bodies(session_id))
        return found

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        replaced: int = await self._call("replace", lambda: self.store.replace(session_id, bodies))
        return replaced

    async def _deleted(self, session_ids: Collection[str]) -> None:
        await self.store._deleted(session_ids)

    async def aclose(self) -> None:
        for fault in self._hanging:
            fault.release()
        await super().aclose()

    async def _close(self) -> None:
        await self.store.aclose()

    async def _call(self, operation: str, call: Call) -> Any:
        self.calls.append(operation)
        fault = self._faults[operation].popleft() if self._faults[operation] else passes
        if isinstance(fault, Hang):
            self._hanging.add(fault)
        return await fault(call)
