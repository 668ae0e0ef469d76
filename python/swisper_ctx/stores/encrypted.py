"""Encryption at rest, around any store: every body is a Fernet token, bound to its place.

Sealed are frames, blocks and heads. The envelope inside each token names session, epoch, kind and id. Sealing happens
on the event loop: 1 kB costs less than handing it to a thread. Heads, fields and frames are opened when they are
read, segments when they are touched.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from swisper_ctx._core import dumps, loads
from swisper_ctx.context import SwisperContext, deserialize_context
from swisper_ctx.errors import ContextError, DecryptionError, StoreError, StoreUnavailableError
from swisper_ctx.keys import KeyProvider, Keyring, Keys, is_token
from swisper_ctx.log import (
    Block,
    Change,
    Checkpoint,
    CommitResult,
    Etag,
    Frame,
    Projection,
    Remains,
    Restoration,
    SessionPage,
    StoredBody,
    StoredSession,
    plain_body,
)
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.committer import Answered
from swisper_ctx.stores.memory import MemorySessionStore

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

MAGIC = b"SWCX"
HEAD, FIELDS, SEGMENT, FRAME = 1, 2, 3, 4
"""Kinds of envelopes: see `envelope.rs`."""
KINDS = {HEAD: "head", FIELDS: "fields block", SEGMENT: "segment", FRAME: "frame"}
CONTEXT = MAGIC + b"\x01\x05"
"""What a token of `encrypt_context` begins with, before its JSON: no such bytes stand in a log."""
SLICE = 256 * 1024
"""After so many bytes that were sealed for a checkpoint, other tasks have their turn."""


class Place(NamedTuple):
    """Where a body belongs. The epoch is None where a read does not tell it: the core checks it then."""

    session_id: str
    epoch: int | None
    kind: int
    id: Any
    """Bytes of a block, the version of a head or a frame. SQLite keeps values of any type in any column."""

    @property
    def name(self) -> str:
        """How errors call it."""
        return f"{KINDS[self.kind]} {self.id.hex() if isinstance(self.id, bytes) else self.id}"

    def has(self, body: bytes) -> bool:
        """Whether the envelope of a body names this place; whatever is no envelope the core refuses."""
        if body[:4] != MAGIC:
            return True
        session_id = self.session_id.encode()
        return (
            body[5] == self.kind
            and body[16:32] == self._id()
            and body[36 : 36 + body[7]] == session_id
            and self.epoch in (None, int.from_bytes(body[8:12], "little"))
        )

    def _id(self) -> bytes:
        if isinstance(self.id, bytes):
            return self.id
        return self.id.to_bytes(16, "little") if isinstance(self.id, int) and self.id >= 0 else b""


class SealedBody:
    """The token of a segment, which is opened when it is touched. It is equal to what stands in it."""

    __slots__ = ("_block_id", "_session", "_token", "size")

    def __init__(self, session: tuple[Keyring, str, int | None], block_id: bytes, token: bytes) -> None:
        self._session, self._block_id, self._token, self.size = session, block_id, token, len(token)

    def open(self) -> bytes:
        """The envelope. Raises DecryptionError."""
        keyring, session_id, epoch = self._session
        return opened(keyring, self._token, Place(session_id, epoch, SEGMENT, self._block_id))

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        return self.open() == (other.open() if isinstance(other, SealedBody) else other)

    def __hash__(self) -> int:
        return hash(self.open())


class EncryptedSessionStore(SessionStore):
    """Encrypts whatever another store keeps, with Fernet (AES-128-CBC and HMAC-SHA256).

    `encryption_key` is one Fernet key, several (the first encrypts, all decrypt), or a KeyProvider that is asked at
    each load and each group of saves. Without `store` the sessions are kept in memory. Readable without a key are the
    names and numbers of the log (see docs/ENCRYPTION.md), no content. Raises ValueError for what is no key, and
    StoreError where `cryptography` is not installed.
    """

    opens_sealed = True

    def __init__(self, encryption_key: Keys, store: SessionStore | None = None) -> None:
        self.store = store or MemorySessionStore()
        super().__init__(clock=self.store._clock, failpoint=self.store._failpoint)
        self._stand_before(self.store)
        self.keyring: Callable[[], Keyring] = keyring_of(encryption_key)
        """Gives the keys of now."""

    def __repr__(self) -> str:
        return f"<EncryptedSessionStore over {type(self.store).__name__}>"

    @property
    def cipher(self) -> MultiFernet:
        """The keys of now, as `cryptography` knows them."""
        return self.keyring().cipher

    def encrypt_context(self, context: SwisperContext) -> bytes:
        """A context as one Fernet token, in base64 as usual."""
        return base64.urlsafe_b64encode(self.keyring().seal(CONTEXT + dumps(context)))

    def decrypt_context(self, token: bytes, legacy: bool = False) -> SwisperContext:
        """The context in such a token; with `legacy`, in one around nothing but JSON. Raises DecryptionError."""
        keyring = self.keyring()
        body = keyring.open(_decoded(token))
        if body is None:
            raise DecryptionError("no key opens this token", block="context", keys=len(keyring))
        if not legacy:
            body = body.removeprefix(CONTEXT) if body.startswith(CONTEXT) else b""
        document = _document(body)
        if document is None:
            del body
            raise DecryptionError("this token holds no context", block="context", keys=len(keyring))
        return deserialize_context(document)

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        return await self.store.etags(session_ids)

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        stored = await self.store.read(session_id, after=after, tail=tail)
        try:
            return None if stored is None else opened_session(self.keyring(), stored)
        except DecryptionError:
            if not await self.store._doubted(session_id):
                raise
        stored = await self.store.read(session_id, after=after, tail=tail)
        return None if stored is None else opened_session(self.keyring(), stored)

    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        stored = await self.store.read_version(session_id, version)
        return None if stored is None else opened_session(self.keyring(), stored)

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        blocks = await self.store.blocks(session_id, block_ids)
        return tuple(opened_blocks(self.keyring(), session_id, None, blocks))

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        frames = await self.store.frames(session_id, after=after, limit=limit)
        return tuple(opened_frames(self.keyring(), session_id, None, frames))

    async def holds(self, session_id: str, change_id: str) -> bool:
        return await self.store.holds(session_id, change_id)

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        seal = self.keyring().seal
        return await self.store.commit([sealed_change(seal, change) for change in changes])

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        seal = self.keyring().seal
        self.store.begin_commit([sealed_change(seal, change) for change in changes], answered)

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        seal, added, size = self.keyring().seal, list[Block](), 0
        for block in checkpoint.added:
            added.append(block if block.body is None else block._replace(body=seal(plain_body(block.body))))
            size += len(block.body or b"")
            if size > SLICE:
                size = 0
                await asyncio.sleep(0)
        head = checkpoint.head._replace(body=seal(checkpoint.head.body))
        copies = without_content(checkpoint.projection)
        return await self.store.checkpoint(checkpoint._replace(head=head, added=tuple(added), projection=copies))

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        return await self.store.delete(session_ids, expired=expired)

    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        return await self.store.sessions(user_id=user_id, expired=expired, cursor=cursor, limit=limit)

    async def remains(self, session_id: str) -> Remains | None:
        """As every store. Raises DecryptionError if nothing can be opened: then the keys are wrong, not the session."""
        remains = await self.store.remains(session_id)
        return None if remains is None else opened_remains(self.keyring(), remains)

    async def restore(self, restoration: Restoration) -> bool:
        seal = self.keyring().seal
        head = restoration.head._replace(body=seal(restoration.head.body))
        blocks = tuple(block._replace(body=seal(plain_body(block.body))) for block in restoration.blocks)
        return await self.store.restore(restoration._replace(head=head, blocks=blocks))

    async def _doubted(self, session_id: str) -> bool:
        return await self.store._doubted(session_id)

    async def _deleted(self, session_ids: Collection[str]) -> None:
        await self.store._deleted(session_ids)

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        return await self.store.bodies(session_id)

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        return await self.store.replace(session_id, bodies)

    async def _close(self) -> None:
        await self.store.aclose()


def keyring_of(keys: Keys) -> Callable[[], Keyring]:
    """What gives the keyring of the moment."""
    if isinstance(keys, bytes | str | Sequence):
        keyring = Keyring(keys)
        return lambda: keyring
    if not callable(getattr(keys, "keys", None)):
        raise ValueError("the encryption key must be bytes or str, several of them, or a KeyProvider")
    return _Provided(keys)


class _Provided:
    """The keyring of a provider, made again when its keys have changed."""

    __slots__ = ("_keyring", "_keys", "_provider")

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider
        self._keys: tuple[bytes | str, ...] = ()
        self._keyring: Keyring | None = None

    def __call__(self) -> Keyring:
        try:
            keys = tuple(self._provider.keys())
        except ContextError:
            raise
        except Exception as error:
            raise StoreUnavailableError("the key provider failed; see the cause") from error
        if self._keyring is None or self._keys != keys:
            try:
                self._keyring, self._keys = Keyring(keys), keys
            except ValueError as error:
                raise StoreError(f"the key provider gives what is no key: {error}") from None
        return self._keyring


def opened(keyring: Keyring, token: Any, place: Place) -> bytes:
    """The body in a token. Raises DecryptionError if no key opens it, or it was sealed for another place."""
    body = keyring.open(token) if isinstance(token, bytes) else None
    if body is not None and place.has(body):
        return body
    if body is not None:
        problem = "it was sealed for another place"
    elif not isinstance(token, bytes):
        problem = "a value of the wrong kind is stored"
    elif token[:4] == MAGIC:
        problem = "plaintext stands where a sealed body is due: whoever wrote it had no key"
    else:
        problem = "no key opens it: it is damaged, or sealed under another key"
    # Whoever prints the variables of a traceback must not find content in this frame.
    del body, token
    raise DecryptionError(problem, session_id=place.session_id, block=place.name, keys=len(keyring))


def opened_session(keyring: Keyring, stored: StoredSession) -> StoredSession:
    """With everything opened but the segments. Raises DecryptionError."""
    session_id, epoch, head = stored.session_id, stored.epoch, stored.head
    if head is not None:
        head = head._replace(body=opened(keyring, head.body, Place(session_id, epoch, HEAD, head.base)))
    blocks = tuple(opened_blocks(keyring, session_id, epoch, stored.blocks))
    frames = tuple(opened_frames(keyring, session_id, epoch, stored.frames))
    return stored._replace(head=head, blocks=blocks, frames=frames)


def opened_blocks(keyring: Keyring, session_id: str, epoch: int | None, blocks: Iterable[Block]) -> Iterable[Block]:
    """Blocks of fields opened, segments to be opened."""
    session = keyring, session_id, epoch
    # A long history has very many: this is half as long as making a Block by its class.
    new = tuple.__new__
    for block_id, field, position, records, token in blocks:
        body: bytes | SealedBody | None
        if records and isinstance(token, bytes):
            body = SealedBody(session, block_id, token)
        elif token is None:
            body = None
        else:
            body = opened(keyring, token, Place(session_id, epoch, SEGMENT if records else FIELDS, block_id))
        yield new(Block, (block_id, field, position, records, body))


def opened_frames(keyring: Keyring, session_id: str, epoch: int | None, frames: Iterable[Frame]) -> Iterable[Frame]:
    """Frames with their patches opened."""
    for frame in frames:
        if frame.body is None:
            yield frame
        else:
            yield frame._replace(body=opened(keyring, frame.body, Place(session_id, epoch, FRAME, frame.version)))


def opened_remains(keyring: Keyring, remains: Remains) -> Remains:
    """With all opened that can be; what cannot has no bytes. Raises DecryptionError if nothing can.

    Where each belongs is for who looks at them: in quarantine they stand under another id.
    """
    found = failed = unopened = 0

    def body(token: Any) -> bytes:
        nonlocal found, failed, unopened
        content = keyring.open(token) if isinstance(token, bytes) else None
        found, failed = found + (content is not None), failed + (content is None)
        unopened += content is None and is_token(token)
        return content or b""

    heads = tuple(head._replace(body=body(head.body)) for head in remains.heads)
    blocks = tuple(kept._replace(block=kept.block._replace(body=body(kept.block.body))) for kept in remains.blocks)
    frames = tuple(frame if frame.body is None else frame._replace(body=body(frame.body)) for frame in remains.frames)
    if failed and not found:
        problem = "no key opens anything of it: are these the keys of this store?"
        raise DecryptionError(problem, session_id=remains.session_id, block="everything", keys=len(keyring))
    return remains._replace(heads=heads, blocks=blocks, frames=frames, unopened=unopened)


def sealed_change(seal: Callable[[bytes], bytes], change: Change) -> Change:
    """With its frame sealed, its head if it has one, and nothing of its content beside them."""
    if change.head is None and change.projection is None:
        return change._replace(frame=seal(change.frame))
    head = None if change.head is None else change.head._replace(body=seal(change.head.body))
    return change._replace(frame=seal(change.frame), head=head, projection=without_content(change.projection))


def without_content(projection: Projection | None) -> Projection | None:
    """Names and numbers, which are readable without a key."""
    return None if projection is None else projection.without_content()


def _decoded(token: bytes) -> bytes:
    try:
        return base64.b64decode(token, b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _document(body: bytes) -> dict[str, object] | None:
    try:
        document = loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
