"""What an assistant remembers of one session between two turns."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, TypeVar, Unpack, dataclass_transform, overload

from swisper_ctx._core import (
    Delta,
    Message,
    Patch,
    PIIEntity,
    PipelineExecution,
    Product,
    RecordList,
    Snapshot,
    StoredBlocks,
    apply_patch,
    plain,
)
from swisper_ctx.chat import chat
from swisper_ctx.draft import Draft, DraftFields
from swisper_ctx.errors import (
    CodecError,
    ConflictError,
    ContextError,
    DecodeError,
    EncodeError,
    InvalidTransitionError,
    PatchError,
)
from swisper_ctx.fields import FieldDescriptor, FieldSpec, declared_fields, declared_types, field, with_slots_of
from swisper_ctx.log import RETRY_WINDOW, Block, Etag
from swisper_ctx.retention import POLICY, retention

METADATA = ("session_id", "user_id", "created_at", "updated_at", "version")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_session_id() -> str:
    """128 random bits as hexadecimal text."""
    return secrets.token_hex(16)


def moment(micros: int | None) -> datetime | None:
    """The UTC datetime of a time of the log."""
    return None if micros is None else EPOCH + timedelta(microseconds=micros)


class FoldMark:
    """How far the log of a session is folded into blocks, and what stands behind that.

    The contexts of one session that come from one cache share it.
    """

    __slots__ = ("base", "blocks", "folded", "frames", "spread", "stamp", "total", "version")

    def __init__(self, stamp: bytes, blocks: bytes | StoredBlocks, base: int) -> None:
        """`blocks` are those in use, or their ids, one behind the other."""
        self.stamp, self.blocks, self.base, self.version = stamp, blocks, base, base
        self.frames = 0
        """How many there are after the base."""
        self.total = self.folded = 0
        """The bytes of all frames since this was made, and of those that checkpoints have folded."""
        self.spread = spread(stamp)

    @property
    def size(self) -> int:
        """The bytes of the frames after the base."""
        return self.total - self.folded

    def grew(self, version: int, size: int) -> None:
        """One more frame was written; of those that tell of it, the first counts."""
        if version > self.version:
            self.version, self.frames, self.total = version, version - self.base, self.total + size

    def become(self, other: FoldMark) -> None:
        """Stand where `other` does, which was read from the store."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def postpone(self) -> None:
        """A checkpoint failed: the next one is due when twice as much has come together."""
        self.spread *= 2

    def moved(self, stamp: bytes, blocks: bytes, total: int, base: int) -> None:
        """A checkpoint of version `base` was written; `total` was the sum of bytes at that version."""
        self.frames, self.folded = self.frames - (base - self.base), total
        self.stamp, self.blocks, self.base, self.spread = stamp, blocks, base, spread(stamp)


def spread(stamp: bytes) -> float:
    """How many times the threshold this session waits with its next checkpoint, so that not all are due at once."""
    return 1 + stamp[0] / 1024


class Position:
    """Where a context stands in the log of its session."""

    __slots__ = (
        "blocks",
        "created_at",
        "epoch",
        "etag",
        "expires_at",
        "limbo",
        "mark",
        "past",
        "saves",
        "session_id",
        "snapshot",
        "unknown",
        "updated_at",
        "user_id",
        "version",
        "written",
    )

    def __init__(
        self,
        session_id: str,
        user_id: str,
        snapshot: Snapshot,
        etag: Etag | None = None,
        epoch: int = 0,
        times: tuple[int | None, int | None, int | None] = (None, None, None),
        mark: FoldMark | None = None,
    ) -> None:
        """`times` are those of the creation, of the last save, and of expiry."""
        self.session_id, self.user_id = session_id, user_id
        self.snapshot = snapshot
        """The state after everything that was handed to a store, acknowledged or not."""
        self.etag, self.epoch, self.mark = etag, epoch, mark
        self.version = 0 if etag is None else etag[0]
        self.created_at, self.updated_at, self.expires_at = times
        self.blocks: Callable[[str, list[bytes]], Awaitable[tuple[Block, ...]]] | None = None
        """Fetches blocks that were left in the store; None if none were."""
        self.unknown: dict[str, Any] = {}
        """Fields of a context from elsewhere that its class does not declare, until they are first saved."""
        self.limbo: Any = None
        """A save of which nobody knows whether it was written; the next one settles that first."""
        self.saves: list[Any] = []
        """The saves on their way, oldest first."""
        self.written: OrderedDict[str, int] | None = None
        """The change_ids that this context has written in the last 24 hours, oldest first, and when."""
        self.past: Etag | None = None
        """The version that it was made to look at; while it stands there, it merges with nothing."""

    def copy(self) -> Position:
        """The same place for another context. Raises ContextError while a save from here is on its way."""
        if self.saves or self.limbo is not None:
            raise ContextError("a save of this context is on its way: await it first")
        other = Position(self.session_id, self.user_id, self.snapshot)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.unknown, other.saves = dict(self.unknown), []
        other.written = self.written and self.written.copy()
        return other

    def wrote(self, change_id: str) -> None:
        """Remember a change_id, for as long as it is recognised in the log."""
        now = self.updated_at or 0
        if (written := self.written) is None:
            written = self.written = OrderedDict()
        written[change_id] = now
        while written[next(iter(written))] < now - RETRY_WINDOW:
            written.popitem(last=False)


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class ContextBase:
    """Fields that load when they are read and are saved when they were touched; `SwisperContext` declares them."""

    __slots__ = ("__dict__", "__weakref__", "_position")
    _fields: ClassVar[dict[str, FieldSpec]] = {}
    _unopened: ClassVar[Snapshot]
    _position: Position

    def __init_subclass__(cls) -> None:
        inherited: dict[str, FieldSpec] = {}
        for base in reversed(cls.__mro__[1:]):
            inherited |= base.__dict__.get("_fields", {})
        taken = {name for base in cls.__mro__[1:] if issubclass(base, ContextBase) for name in vars(base)}
        declared = declared_fields(cls, inherited, taken - inherited.keys())
        own = {name: spec for name, spec in declared.items() if name not in METADATA}
        if POLICY in own:
            retention(own[POLICY].initial())
        cls._fields = {**inherited, **own}
        for name, spec in own.items():
            setattr(cls, name, FieldDescriptor(spec))
        for name in METADATA:
            if name not in taken:
                setattr(cls, name, _metadata(name))
            elif name in vars(cls):
                raise TypeError(f"{cls.__name__}.{name} is set by the store")
        records = [(spec.name, spec.record_class) for spec in cls._fields.values() if spec.record_class]
        cls._unopened = Snapshot(records, [spec.name for spec in cls._fields.values() if spec.is_time])

    def __init__(self, **fields: Any) -> None:
        session_id = fields.pop("session_id", None)
        session_id = new_session_id() if session_id is None else session_id
        position = Position(session_id, fields.pop("user_id", ""), self._unopened)
        object.__setattr__(self, "_position", position)
        for name, value in fields.items():
            setattr(self, name, value)

    @classmethod
    def _at(cls, position: Position) -> Self:
        context = cls.__new__(cls)
        object.__setattr__(context, "_position", position)
        return context

    if not TYPE_CHECKING:
        # A type checker that saw this would accept every name.

        def __setattr__(self, name: str, value: Any) -> None:
            spec = self._fields.get(name)
            if spec is None:
                self._set_other(name, value)
            elif spec.record_class is None:
                if name == POLICY:
                    retention(value)
                self.__dict__[name] = value
            elif value is not getattr(self, name):
                getattr(self, name)[:] = value

    def _set_other(self, name: str, value: Any) -> None:
        """Set a property or slot of a subclass. Anything else would not be saved."""
        is_own = name not in METADATA and name not in vars(ContextBase)
        if is_own and hasattr(getattr(type(self), name, None), "__set__"):
            object.__setattr__(self, name, value)
            return
        what = "is set by the store" if name in METADATA else "is not a field; declare it in a subclass"
        raise AttributeError(f"{type(self).__name__}.{name} {what}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        problem = f"{type(self).__name__}.{name} cannot be deleted; give it another value"
        raise AttributeError(problem, name=name, obj=self)

    def __repr__(self) -> str:
        position = self._position
        return f"<{type(self).__name__} {position.session_id} version {position.version}>"

    def __copy__(self) -> Self:
        """A context at the same place of the log, with the same unsaved edits, which are its own from now on.

        No field is shared: it is a deep copy too, but for the `__slots__` of a subclass. Both can be saved, as contexts
        that two processes have loaded. Raises ContextError while a save is on its way, EncodeError for a value that
        JSON cannot hold.
        """
        return with_slots_of(self, apply_patch(self, Patch()))

    def __deepcopy__(self, memo: Any) -> Self:
        return with_slots_of(self, apply_patch(self, Patch()), partial(deepcopy, memo=memo))

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"{name} cannot be pickled: load the session where it is needed, or take serialize_context")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: Any) -> Any:
        from swisper_ctx.pydantic_schema import context_schema

        bases = [base for base in reversed(cls.__mro__) if issubclass(base, ContextBase)]
        declared = {name: hint for base in bases for name, hint in declared_types(base).items()}
        types = {name: declared[name] for name in (*METADATA, *cls._fields)}
        return context_schema(cls, handler, types, deserialize_context, serialize_context)

    def _touched(self) -> dict[str, Any]:
        """The fields of a first version, which has them all, so that any JSON Patch tool can follow from there."""
        touched = self.__dict__
        known = {name: touched.get(name) for name in self._fields}
        initial = {name: self._fields[name].initial() for name in known if name not in touched}
        return {**known, **touched, **initial, **self._position.unknown}

    def _patched(self, changed: dict[str, Any]) -> Self:
        """A context that stands where this one does, with these fields as its unsaved changes."""
        context = self._at(self._position.copy())
        position = context._position
        for name, value in changed.items():
            spec = self._fields.get(name)
            if name in METADATA:
                raise PatchError("it is set by the store", path=f"/{name}")
            if spec is None and not position.snapshot:
                position.unknown[name] = value
            elif spec is None and hasattr(type(self), name):
                raise PatchError("the class has something else of this name", path=f"/{name}")
            elif spec is None or spec.record_class is not None:
                context.__dict__[name] = value
            else:
                setattr(context, name, spec.decode(value))
        return context

    def _json_members(self) -> dict[str, Any]:
        """What this is as JSON, in order: values, times, lists, and fields that nobody has touched as they are stored.

        `dumps` asks for it too.
        """
        position, snapshot, touched = self._position, self._position.snapshot, self.__dict__
        body = {
            name: touched[name] if name in touched else snapshot.stored(name) if name in snapshot else spec.initial()
            for name, spec in self._fields.items()
        }
        unknown = {name: snapshot.stored(name) for name in snapshot.names if name not in body}
        unknown |= {} if snapshot else position.unknown
        unknown |= {name: value for name, value in touched.items() if name not in body}
        owner = {"session_id": position.session_id, "user_id": position.user_id}
        times = {name: moment(getattr(position, name)) for name in ("created_at", "updated_at")}
        return {**owner, **body, **unknown, **times, "version": position.version}

    def _freeze(self) -> Delta | None:
        """What has changed since the last call; it counts as handed over from now on."""
        position = self._position
        delta = position.snapshot.freeze(self.__dict__ if position.snapshot else self._touched())
        if delta is not None:
            position.snapshot = delta.snapshot
        return delta


def _metadata(name: str) -> property:
    if name.endswith("_at"):
        return property(lambda context: moment(getattr(context._position, name)))
    return property(lambda context: getattr(context._position, name))


class SwisperContext(ContextBase):
    """The context of one session: plain attributes, lists and dicts, of which a save writes what changed.

    Fields hold exact JSON types (str, int, float, bool, None, list, dict with str keys), times, and lists of records.
    Subclass it to declare fields of your own; each needs a default. Properties and `__slots__` are not saved.
    A copy stands at the same place of the log and has the same unsaved edits: both can be saved, as if two processes
    had loaded the session.
    """

    session_id: Final[str] = field(default_factory=new_session_id)
    user_id: Final[str] = ""
    current_state: str = "idle"
    conversation_history: RecordList[Message] = field(default_factory=lambda: RecordList(Message))
    product_query: str = ""
    hard_constraints: list[str] = field(default_factory=list)
    soft_preferences: dict[str, Any] = field(default_factory=dict)
    search_results: RecordList[Product] = field(default_factory=lambda: RecordList(Product))
    pipeline_executions: RecordList[PipelineExecution] = field(default_factory=lambda: RecordList(PipelineExecution))
    performance_metrics: dict[str, Any] = field(default_factory=dict)
    cache_keys: list[str] = field(default_factory=list)
    buffer_store: dict[str, Any] = field(default_factory=dict)
    summary_store: dict[str, Any] = field(default_factory=dict)
    semantic_memory_refs: list[str] = field(default_factory=list)
    pii_extracted: RecordList[PIIEntity] = field(default_factory=lambda: RecordList(PIIEntity))
    consent_status: dict[str, bool] = field(default_factory=dict)
    data_retention_policy: str = "session"
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: Final[datetime | None] = field(default=None, init=False)
    updated_at: Final[datetime | None] = field(default=None, init=False)
    version: Final[int] = field(default=0, init=False)

    @property
    def etag(self) -> Etag | None:
        """The identity of the state that was loaded or saved last; None before the first save."""
        return self._position.etag

    async def load_history(self) -> None:
        """Fetch the records that `tail=` left in the store; nothing if all are here.

        Raises ConflictError if they were rewritten meanwhile: load the session again.
        """
        position = self._position
        missing = position.snapshot.missing
        if not missing or position.blocks is None:
            return
        blocks = await position.blocks(position.session_id, missing)
        if len(blocks) < len(missing):
            raise ConflictError("rewritten", expected=position.etag)
        for block in blocks:
            position.snapshot.fill(block.block_id, block.body or b"")
        position.blocks = None

    def transition_to(self, state: str, allowed: Mapping[str, Collection[str]] | None = None) -> None:
        """Set `current_state`, which the next save writes only if the stored state is still the one left here.

        `allowed` names the states that may follow each state; without it every change is. Raises
        InvalidTransitionError, and leaves the state as it was, for any other.
        """
        if allowed is not None and state not in (following := allowed.get(self.current_state, ())):
            raise InvalidTransitionError(self.current_state, state, following)
        self.current_state = state

    def chat(self, last: int | None = None) -> list[dict[str, Any]]:
        """The last so many messages, all without `last`, as chat APIs take them: dicts of your own.

        They have `role`, `content`, `name`, `tool_calls` and `tool_call_id`, those of them that the message has. The
        list never starts inside a tool-call group: when the n-th last message is an answer to a call of a tool, those
        before it are taken too, back to the assistant message that made the call. It costs what it gives.

        Raises NotLoadedError if one of these was left in the store by `tail=`, ValueError for a negative `last`.
        """
        return chat(self.conversation_history, last)

    def draft(self, role: str, **fields: Unpack[DraftFields]) -> Draft:
        """A message that comes in pieces: `with context.draft("assistant") as draft: draft.write(piece)`.

        At the end of the block it is appended to `conversation_history`, as one record. If the block raises, be it by
        cancellation, what was written is appended with `"partial": True` in its metadata, nothing if nothing was
        written, and the exception goes on. `draft.text` is what has been written, `timestamp` when it was begun.

        Raises EncodeError at once for a field that a Message cannot hold.
        """
        return Draft(self.conversation_history, Message(role=role, content="", **fields))


C = TypeVar("C", bound=SwisperContext)


def serialize_context(context: SwisperContext) -> dict[str, Any]:
    """The whole context as JSON types of its own: records as dicts, times as RFC 3339 text, every field there.

    Fields that this class does not declare are kept as they are stored. Raises EncodeError for a value that JSON
    cannot hold.
    """
    return {name: plain(value) for name, value in context._json_members().items()}


@overload
def deserialize_context(source: Mapping[str, Any]) -> SwisperContext: ...
@overload
def deserialize_context(source: Mapping[str, Any], context_class: type[C]) -> C: ...
def deserialize_context(source: Mapping[str, Any], context_class: type[Any] = SwisperContext) -> Any:
    """The context that `serialize_context` gave; it belongs to no store until it is saved as a new session.

    Keys that are not declared are kept, and records are taken as they are, whatever their fields hold. Raises
    EncodeError for a value that JSON cannot hold, PrivacyError for a `data_retention_policy` that means nothing,
    DecodeError for a time, list of records, id or version that is none; `pointer` leads to it.
    """
    owner = {name: _member(source, name, "") for name in ("session_id", "user_id") if name in source}
    context = context_class(**owner)
    position = context._position
    position.version = _member(source, "version", 0)
    position.created_at, position.updated_at = (_micros(source, name) for name in ("created_at", "updated_at"))
    for name, value in source.items():
        if name not in METADATA:
            _take(context, name, value)
    return context


def _take(context: SwisperContext, name: str, value: Any) -> None:
    spec = context._fields.get(name)
    if spec is None:
        if type(name) is not str:
            raise EncodeError("a key that is not a str")
        context._position.unknown[name] = _plain(name, value)
    elif spec.record_class is None:
        setattr(context, name, spec.decode(_plain(name, value)))
    else:
        try:
            setattr(context, name, value)
        except CodecError as error:
            raise error._within(name) from None
        except TypeError as error:
            raise DecodeError("a list of records was expected", pointer=f"/{name}") from error


def _plain(name: str, value: Any) -> Any:
    try:
        return plain(value)
    except CodecError as error:
        raise error._within(name) from None


def _member(source: Mapping[str, Any], name: str, default: Any) -> Any:
    value = source.get(name, default)
    if type(value) is not type(default):
        raise DecodeError(f"a value of type {type(default).__name__} was expected", pointer=f"/{name}")
    return value


def _micros(source: Mapping[str, Any], name: str) -> int | None:
    time = FieldSpec(name, str, is_time=True).decode(_plain(name, source.get(name)))
    return None if time is None else (time - EPOCH) // timedelta(microseconds=1)
