"""The compiled core: records, lists of them, and the state of a session."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from datetime import datetime
from types import GenericAlias
from typing import Any, Final, Protocol, Self, SupportsIndex, TypeAlias, TypeVar, final, overload

from typing_extensions import disjoint_base

from swisper_ctx.log import Change, Etag

__all__ = [
    "BUILD",
    "Conflict",
    "Delta",
    "Groups",
    "Histogram",
    "LRUCache",
    "Message",
    "PIIEntity",
    "Patch",
    "PipelineExecution",
    "Product",
    "RecordList",
    "Save",
    "Snapshot",
    "Stored",
    "StoredBlocks",
    "append_frame",
    "apply_patch",
    "chat_form",
    "check_block",
    "choose_kernels",
    "diff",
    "dumps",
    "loads",
    "moved_expiry",
    "patch_of",
    "plain",
    "read_directly",
    "rebase",
    "reset",
    "salvage",
    "system_clock",
    "token",
]

BUILD: Final[str]
"""`trained` if the compiler has seen how it is used, as that of a published wheel, else `plain`."""

_R = TypeVar("_R", bound=_Record)

class _Record:
    """What the record classes share. A record is its JSON object, byte for byte; a field is decoded when it is read.

    Records are frozen and equal by JSON value: `1`, `1.0` and `True` differ, the order of keys does not count.
    """

    @property
    def extra(self) -> dict[str, Any]:
        """The keys that the class does not declare."""

    def to_dict(self) -> dict[str, Any]:
        """The keys that are there, as JSON types."""

    def to_json(self) -> bytes:
        """The JSON text of the record."""

    @classmethod
    def from_dict(cls, source: dict[str, Any]) -> Self:
        """The record with just these keys. Raises EncodeError for a value that JSON cannot hold."""

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """The record in JSON text; compact text is kept as it is. Raises DecodeError."""

    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: Any) -> Self: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __reduce__(self) -> tuple[Any, tuple[bytes]]: ...
    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any: ...

@final
class Message(_Record):
    """One message of a conversation. Frozen: `history[i] = message.replace(content=...)`.

    `message_id` is a random UUID and `timestamp` the present unless they are given. What is left out is absent and
    reads as None; an explicit None is stored as null. Raises EncodeError for a value of the wrong type.
    """

    __match_args__: Final = ("role", "content")
    _fields: Final[tuple[tuple[str, str, bool], ...]]
    def __new__(
        cls,
        role: str,
        content: str | list[Any] | None = ...,
        *,
        message_id: str = ...,
        timestamp: datetime | None = ...,
        name: str | None = ...,
        tool_calls: list[Any] | None = ...,
        tool_call_id: str | None = ...,
        metadata: dict[str, Any] | None = ...,
    ) -> Self: ...
    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str | list[Any] | None: ...
    @property
    def message_id(self) -> str | None: ...
    @property
    def timestamp(self) -> datetime | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def tool_calls(self) -> list[Any] | None: ...
    @property
    def tool_call_id(self) -> str | None: ...
    @property
    def metadata(self) -> dict[str, Any] | None: ...
    def replace(
        self,
        *,
        role: str = ...,
        content: str | list[Any] | None = ...,
        message_id: str = ...,
        timestamp: datetime | None = ...,
        name: str | None = ...,
        tool_calls: list[Any] | None = ...,
        tool_call_id: str | None = ...,
        metadata: dict[str, Any] | None = ...,
    ) -> Self:
        """A copy with some fields changed; unknown keys stay. Raises EncodeError."""

@final
class Product(_Record):
    """Something that was found for the user. Numbers keep their type; see Message for what holds for all records."""

    __match_args__: Final = ("product_id", "name")
    _fields: Final[tuple[tuple[str, str, bool], ...]]
    def __new__(
        cls,
        product_id: str,
        name: str | None = ...,
        *,
        price: float | None = ...,
        currency: str | None = ...,
        url: str | None = ...,
        attributes: dict[str, Any] | None = ...,
        score: float | None = ...,
    ) -> Self: ...
    @property
    def product_id(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def price(self) -> float | None: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def url(self) -> str | None: ...
    @property
    def attributes(self) -> dict[str, Any] | None: ...
    @property
    def score(self) -> float | None: ...
    def replace(
        self,
        *,
        product_id: str = ...,
        name: str | None = ...,
        price: float | None = ...,
        currency: str | None = ...,
        url: str | None = ...,
        attributes: dict[str, Any] | None = ...,
        score: float | None = ...,
    ) -> Self:
        """A copy with some fields changed; unknown keys stay. Raises EncodeError."""

@final
class PipelineExecution(_Record):
    """One run of a pipeline: how it went, how long it took (`duration_ms`, milliseconds), what went in and out."""

    __match_args__: Final = ("pipeline_name", "status")
    _fields: Final[tuple[tuple[str, str, bool], ...]]
    def __new__(
        cls,
        pipeline_name: str,
        status: str | None = ...,
        *,
        execution_id: str = ...,
        started_at: datetime | None = ...,
        finished_at: datetime | None = ...,
        duration_ms: float | None = ...,
        input: Any = ...,
        result: Any = ...,
        error: Any = ...,
        metrics: dict[str, Any] | None = ...,
    ) -> Self: ...
    @property
    def pipeline_name(self) -> str: ...
    @property
    def status(self) -> str | None: ...
    @property
    def execution_id(self) -> str | None: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def finished_at(self) -> datetime | None: ...
    @property
    def duration_ms(self) -> float | None: ...
    @property
    def input(self) -> Any: ...
    @property
    def result(self) -> Any: ...
    @property
    def error(self) -> Any: ...
    @property
    def metrics(self) -> dict[str, Any] | None: ...
    def replace(
        self,
        *,
        pipeline_name: str = ...,
        status: str | None = ...,
        execution_id: str = ...,
        started_at: datetime | None = ...,
        finished_at: datetime | None = ...,
        duration_ms: float | None = ...,
        input: Any = ...,
        result: Any = ...,
        error: Any = ...,
        metrics: dict[str, Any] | None = ...,
    ) -> Self:
        """A copy with some fields changed; unknown keys stay. Raises EncodeError."""

@final
class PIIEntity(_Record):
    """Personal data that was found and replaced; never the data itself.

    `start` and `end` are code points of the original text.
    """

    __match_args__: Final = ("entity_type", "start", "end")
    _fields: Final[tuple[tuple[str, str, bool], ...]]
    def __new__(
        cls,
        entity_type: str,
        start: int | None = ...,
        end: int | None = ...,
        *,
        score: float | None = ...,
        detector: str | None = ...,
        message_id: str | None = ...,
        path: str | None = ...,
        placeholder: str | None = ...,
        fingerprint: str | None = ...,
    ) -> Self: ...
    @property
    def entity_type(self) -> str: ...
    @property
    def start(self) -> int | None: ...
    @property
    def end(self) -> int | None: ...
    @property
    def score(self) -> float | None: ...
    @property
    def detector(self) -> str | None: ...
    @property
    def message_id(self) -> str | None: ...
    @property
    def path(self) -> str | None: ...
    @property
    def placeholder(self) -> str | None: ...
    @property
    def fingerprint(self) -> str | None: ...
    def replace(
        self,
        *,
        entity_type: str = ...,
        start: int | None = ...,
        end: int | None = ...,
        score: float | None = ...,
        detector: str | None = ...,
        message_id: str | None = ...,
        path: str | None = ...,
        placeholder: str | None = ...,
        fingerprint: str | None = ...,
    ) -> Self:
        """A copy with some fields changed; unknown keys stay. Raises EncodeError."""

@final
class RecordList(MutableSequence[_R]):
    """A list of records that costs the same to append to, and to save, at any length.

    It takes records of its class or dicts, and gives records. It remembers its edits until they are saved.
    """

    def __new__(cls, record_class: type[_R], records: Iterable[_R | dict[str, Any]] | None = None) -> Self: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any: ...
    @property
    def record_class(self) -> type[_R]:
        """The class of its records."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_R]: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> _R: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[_R]: ...
    @overload
    def __setitem__(self, index: SupportsIndex, value: _R | dict[str, Any], /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[_R | dict[str, Any]], /) -> None: ...
    def __delitem__(self, index: SupportsIndex | slice, /) -> None: ...
    def __iadd__(self, records: Iterable[_R | dict[str, Any]], /) -> Self: ...
    def append(self, record: _R | dict[str, Any], /) -> None: ...
    def extend(self, records: Iterable[_R | dict[str, Any]]) -> None: ...
    def insert(self, index: SupportsIndex, record: _R | dict[str, Any]) -> None: ...
    def pop(self, index: SupportsIndex = -1) -> _R: ...
    def clear(self) -> None: ...
    def reverse(self) -> None: ...
    def remove(self, record: _R) -> None: ...
    def index(self, record: _R, start: int = 0, stop: int = ...) -> int: ...
    def index_of(self, record_id: str) -> int:
        """The index of the record with this id, the last one if several have it; looked for from the end.

        Raises ValueError if there is none, NotLoadedError if it may be among records that were left in the store.
        """

    def count(self, record: _R) -> int: ...
    def __contains__(self, record: object, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __copy__(self) -> Self:
        """A list of the same records that belongs to no context. So is a deep copy: records cannot change."""

    def __deepcopy__(self, _memo: Any) -> Self: ...
    def select(self, *names: str) -> list[tuple[Any, ...]]:
        """These fields of every record, decoded; None where a record has none. Raises AttributeError for other names.

        It takes less than reading them one by one: prompts are built so. Raises DecodeError for a time that is none;
        its pointer leads through the list.
        """

    def to_dicts(self) -> list[dict[str, Any]]:
        """All records as dicts of JSON types."""

_K = TypeVar("_K")
_V = TypeVar("_V")
_D = TypeVar("_D")

_T = TypeVar("_T")

@final
class Patch(Sequence[dict[str, Any]]):
    """A JSON Patch (RFC 6902): an immutable sequence of operations, each given as a dict of its own when it is read.

    `Patch(operations)` takes operations as dicts. Raises PatchError for one that is malformed, or that puts a value
    deeper than 128 containers; EncodeError for a value that JSON cannot hold. Members that the RFC does not name are
    left out. Two patches are equal if they have the same operations; values are compared strictly, by value and type.
    `repr` shows no values; `str` has a line for each operation, for people, with values shortened.
    """

    def __new__(cls, operations: Iterable[Mapping[str, Any]] | None = None) -> Self: ...
    @classmethod
    def from_json(cls, data: bytes | bytearray | memoryview | str) -> Self:
        """The patch in JSON text. Raises DecodeError for what is no JSON, PatchError for what is no patch."""

    def to_json(self) -> bytes:
        """The patch as JSON text without white space."""

    def invert(self, source: Any) -> Patch:
        """The patch that leads back to `source` from what this one makes of it.

        It holds the values that this patch replaces or removes. Raises PatchError if this patch does not fit `source`.
        """

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice, /) -> Patch: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    def __reversed__(self) -> Iterator[dict[str, Any]]: ...
    def __contains__(self, key: object, /) -> bool: ...
    def count(self, operation: Any) -> int:
        """How often the patch has an operation."""

    def index(self, operation: Any, start: int = 0, stop: int = ...) -> int:
        """Where an operation stands first. Raises ValueError if it does not."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: Any) -> Self: ...

def diff(source: _T, target: _T) -> Patch:
    """The patch that turns `source` into `target`, which are of one kind; `1`, `1.0` and `True` differ.

    Plain objects (exact JSON builtins), JSON text as bytes, records, record lists, or contexts. The order of members
    does not count. Elements of arrays are aligned by their `message_id`, `product_id`, `execution_id` or `id` where
    all have one, else by value within bounds; where operations on the parts would be longer, the whole is replaced.

    Of two contexts their content is compared, saved or not, and nothing that the store sets; where they come from one
    session, what they share is not looked at. Objects that are identical and bytes that are the same at both ends are
    not looked at either: what is no JSON there is not found out.

    Raises EncodeError for objects that are no JSON, DecodeError for bytes that are none, TypeError for two kinds.
    """

def apply_patch(document: _T, patch: Patch) -> _T:
    """What a patch (RFC 6902) makes of a document, which stays as it is, also where the patch does not fit.

    Bytes, a record or a RecordList give a new one. Plain objects give objects that share with the document all that
    the patch does not touch, as `copy.copy` does: copy deeply what is to be changed apart. A context gives a context
    that stands where the document does, with the changes unsaved: saving it writes them.

    Raises PatchError, which names the operation, for one that does not fit, for a test that does not hold, and where
    a value would stand deeper than 128 containers or copies come to more than 16 MiB; DecodeError for bytes that are
    no JSON; ContextError for a context with a save on its way.
    """

@final
class LRUCache(MutableMapping[_K, _V]):
    """The entries that were used last, as many as keep within `max_bytes` and `max_entries`; None sets no bound.

    `ttl` is how many seconds an entry lives, by the monotonic clock, from when it was last set. `weigh` gives the
    bytes of a value; without it `max_bytes` takes values that consist of bytes (bytes, bytearray, memoryview, str as
    UTF-8, Snapshot) and raises TypeError for others, and without `max_bytes` nothing is weighed.

    A mapping as that of cachetools: reading and setting an entry make it the newest, `in`, `peek` and iterating do
    not; it iterates from the oldest to the newest. `keys`, `values` and `items` show what is there when they are
    called. Setting a value that alone is larger than `max_bytes` raises ValueError, and then nothing has changed.
    Keys may be compared, values weighed and let go by Python code that comes back to the cache.
    """

    def __new__(
        cls,
        max_bytes: int | None = None,
        max_entries: int | None = None,
        ttl: float | None = None,
        weigh: Callable[[_V], int] | None = None,
    ) -> Self: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...
    @property
    def max_bytes(self) -> int | None: ...
    @property
    def max_entries(self) -> int | None: ...
    @property
    def ttl(self) -> float | None: ...
    @property
    def current_bytes(self) -> int:
        """The weights of all entries together."""

    @property
    def hits(self) -> int:
        """How often `[]`, `get` or `setdefault` found its key."""

    @property
    def misses(self) -> int:
        """How often they did not."""

    @property
    def evictions(self) -> int:
        """How many entries had to make room for others; not those that were removed or whose time was over."""

    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: _K, /) -> _V: ...
    def __setitem__(self, key: _K, value: _V, /) -> None: ...
    def __delitem__(self, key: _K, /) -> None: ...
    def __iter__(self) -> Iterator[_K]: ...
    def __eq__(self, other: object, /) -> bool: ...
    @overload
    def peek(self, key: _K, /) -> _V | None:
        """The value of a key as it stands: it is neither counted as used nor as a hit or a miss."""

    @overload
    def peek(self, key: _K, default: _D, /) -> _V | _D: ...
    def put(self, key: _K, value: _V, ttl: float | None = None) -> None:
        """Set an entry that lives for `ttl` seconds; None takes the cache's own."""

    def popitem(self) -> tuple[_K, _V]:
        """Remove the oldest entry and return it. Raises KeyError if there is none."""

class _Sealed(Protocol):
    def open(self) -> bytes: ...
    def __len__(self) -> int: ...

_Etag: TypeAlias = tuple[int, bytes]
_NewBlock: TypeAlias = tuple[bytes, str, int, int, bytes]
_Block: TypeAlias = tuple[bytes, str, int, int, bytes | _Sealed | None]

@final
class Stored:
    """A field of a snapshot as it is stored: `dumps` copies its text, `plain` decodes it."""

@final
class Snapshot:
    """The content of a session at one version, immutable; what did not change is shared with other versions."""

    def __new__(cls, records: Sequence[tuple[str, type[Any]]], times: Sequence[str] = ()) -> Self:
        """An empty one, which knows which fields are lists of records, of which class, and which are times."""

    def open(
        self,
        session_id: str,
        user_id: str,
        epoch: int,
        created_at: int,
        etag: _Etag,
        head: tuple[int, bytes],
        blocks: tuple[_Block, ...],
        frames: Sequence[tuple[int, bytes]],
    ) -> tuple[Snapshot, StoredBlocks]:
        """The state that stored bytes stand for, and the blocks of its head. Raises CorruptSessionError.

        `head` and `frames` are (version, body), `blocks` (id, field, position, records, body). What stands in these of
        lists of records is looked at when one of the lists is touched: it then raises CorruptSessionError.
        """

    def __bool__(self) -> bool:
        """Whether it has fields: not before the first save."""

    @property
    def is_partial(self) -> bool:
        """Whether blocks were left in the store: told without a look at the lists."""

    @property
    def missing(self) -> list[bytes]:
        """The ids of the blocks that were left in the store."""

    def fill(self, block_id: bytes, body: bytes | _Sealed) -> None:
        """Take in one of them, here and in every list and snapshot that shares it."""

    @property
    def names(self) -> list[str]:
        """The fields it has, in their order."""

    def __contains__(self, name: str, /) -> bool: ...
    def stored(self, name: str) -> Stored:
        """The text of a field. Raises KeyError if there is none of this name."""

    def get(self, name: str) -> Any:
        """A field, decoded anew: a JSON value, or a RecordList."""

    def count(self, name: str) -> int:
        """How many records a list has; 0 for anything else."""

    def to_json(self) -> bytes:
        """All fields as one JSON object."""

    def excerpt(self, most: int) -> bytes:
        """The JSON object of those fields that are no lists of records, as far as they fit into `most` bytes."""

    @property
    def size(self) -> int:
        """The bytes of the JSON texts of its fields, names not counted."""

    @property
    def unstored_size(self) -> int:
        """The bytes of those values that a checkpoint would have to write; lists of records not counted."""

    def freeze(self, touched: dict[str, Any]) -> Delta | None:
        """What the touched fields change, None if nothing. Raises EncodeError, and then no list has been frozen."""

    def append(self, name: str, record: Any) -> Delta:
        """The change that appends one record to a list."""

    def checkpoint(
        self,
        session_id: str,
        user_id: str,
        epoch: int,
        created_at: int,
        etag: _Etag,
        stamp: bytes,
        stored: bytes | StoredBlocks,
    ) -> tuple[bytes, list[_NewBlock], list[bytes], bytes]:
        """Head, new blocks, those of the `stored` block ids that are no longer used, and all ids that now are.

        Raises CorruptSessionError.
        """

@final
class StoredBlocks:
    """The blocks of the head that a snapshot was opened from: they have ids, which `Snapshot.checkpoint` asks for."""

    def check(self, session_id: str) -> None:
        """Look at their rows now. Raises CorruptSessionError if they are not those that the head was written with."""

@final
class Delta:
    """The change from one state to the next."""

    @property
    def snapshot(self) -> Snapshot:
        """The state after it."""

    def patch(self) -> bytes:
        """The change as a JSON Patch (RFC 6902)."""

    def frame(self, session_id: str, epoch: int, parent: bytes, etag: _Etag, change_id: str | None, time: int) -> bytes:
        """The envelope of the frame; `parent` is the token of the version before, `time` microseconds since 1970."""

    def restore(self, touched: dict[str, Any]) -> None:
        """Put the edits of lists back that could not be saved."""

    def adopt(self, touched: dict[str, Any]) -> None:
        """Show a record that was appended to the state alone in the list as well, before what is new there."""

@disjoint_base
class Groups:
    """Writes on their way to a store in groups of at most 512, one for each session, so many groups in flight.

    A large save goes alone: its frame is made beside the event loop, and what is small passes it by.

    A subclass has `fail(writes, error)`, `not_committed(write, change, error)`, `rest()`, which is called where
    nothing may be under way any more and `drained` is not empty, and `seal(save)`, which calls `save.sealing()` in a
    thread and hands over to `sealed`.
    """

    def __new__(cls, begin: Callable[[Sequence[Change], Any], None], in_flight: int) -> Self: ...
    loop: asyncio.AbstractEventLoop | None
    """In which writes were submitted last."""
    @property
    def drained(self) -> list[asyncio.Future[None]]:
        """Those who wait until nothing is under way."""

    @property
    def is_idle(self) -> bool:
        """No group is under way, nor about to be formed."""

    def submit(self, write: Any) -> None:
        """Queue a write; nothing is awaited."""

    def resubmit(self, write: Any) -> None:
        """Release its session, and queue it before all others."""

    def schedule(self) -> None:
        """If anything waits, form the next group when those about to run in the event loop have had their say."""

    def send(self) -> None:
        """Form groups and begin to write them."""

    def sealed(self, write: Save, frame: bytes | None, error: BaseException | None) -> None:
        """The frame of a large save is made, or cannot be."""

    def release(self, session_id: str) -> None:
        """Nothing of this session is under way any more."""

    def give_up(self) -> list[Any]:
        """Forget the groups under way; the writes in them."""

@disjoint_base
class Save:
    """One save of a context on its way to a store, made on the state `before`.

    `store` has `_clock()`, `_checkpointer` and `_committed`, which may be None; `context._position` says where it
    stands. A subclass has `first_head(created_at)`, the head that a session is created with, `rule(policy, ttl)`, what
    a policy of retention means (see `moved_expiry`), `default_rule()`, what the policy of a session without one means,
    and `projection(is_created)`, for a store that `shows_copies`.
    """

    def __new__(
        cls,
        store: Any,
        context: Any,
        delta: Delta,
        before: Snapshot,
        change_id: str | None = None,
        ttl: int | None = None,
    ) -> Self:
        """`ttl` is how long a session is kept whose own policy leaves that open, in microseconds."""

    @property
    def store(self) -> Any: ...
    @property
    def context(self) -> Any: ...
    @property
    def position(self) -> Any: ...
    @property
    def session_id(self) -> str: ...
    @property
    def change_id(self) -> str | None: ...
    @property
    def ttl(self) -> int | None: ...
    delta: Delta
    before: Snapshot
    snapshot: Snapshot
    """The state after it."""
    etag: Etag
    """Of the version that it becomes, from when its change is made."""
    size: int
    """The bytes of its frame."""
    expires_at: int | None
    """The time of expiry that it writes; None where that stays."""
    since: float
    """When it was handed over, as time.monotonic counts."""
    done: bool
    lost: bool
    """Whether an answer was lost, so that it may have been written."""
    merges: int
    """How often it was put on what others had saved."""
    error: Exception | None
    def __await__(self) -> Generator[Any]:
        """Wait until it is written; raises what it fails with. Whoever is cancelled waits no longer, that is all."""

    def change(self) -> Change:
        """Write what follows on the state that the saves before this one have led to. Raises EncodeError."""

    def sealing(self) -> Callable[[], bytes]:
        """What makes the frame of that, in any thread."""

    def committed(self, time: int) -> None:
        """The context now stands at this version."""

    def settle(self, error: Exception | None) -> None:
        """Tell those who wait that it was written, or why not."""

@final
class Conflict:
    """Why changes do not merge with what others have saved."""

    @property
    def reason(self) -> str:
        """One of

        overlap         both sides changed the same
        test            something that a change departs from has changed
        tool_calls      a call of a tool waits for its answer: nothing may come between
        barrier         consent, retention or a recovery, which merge with nothing
        unidentified    a record was edited that has no id to be known by
        too_old         the log does not lead from that state to the present one any more
        """

    @property
    def paths(self) -> tuple[str, ...]:
        """JSON Pointers to what both sides touched, where that is the reason."""

def rebase(
    base: Snapshot,
    saves: Sequence[Delta],
    touched: dict[str, Any],
    session_id: str,
    epochs: tuple[int, int],
    etag: _Etag,
    frames: Sequence[tuple[int, bytes | None]],
) -> tuple[Snapshot, list[Delta]] | Conflict:
    """Put what others have saved under all that a context has not saved yet.

    `base` is the state at `etag`, `frames` (version, body) are those after it, `epochs` that of the context and the
    present one. `saves` are the changes handed over since, each made on the one before, `touched` the fields of the
    context with its later edits.

    Gives the state of the last frame and the saves as changes that follow on it; `touched` then shows both sides:
    lists and dicts are the same objects with new content, other values are taken out, to be read again. If anything
    of the context is at odds with theirs, it gives a Conflict, and nothing has been changed. The cost is that of the
    changes, not of the history.

    Raises CorruptSessionError, NotLoadedError where theirs edited records that were left in the store, and
    EncodeError for an unsaved value that JSON cannot hold.
    """

def reset(snapshot: Snapshot, touched: dict[str, Any]) -> None:
    """Make the fields of a context what they are in a snapshot; what it has not saved is gone.

    Lists and dicts are the same objects with new content, other values are taken out, to be read again.
    """

def salvage(
    empty: Snapshot,
    session_id: str,
    user_id: str,
    epoch: int,
    head: tuple[int, bytes],
    blocks: tuple[_Block, ...],
    frames: Sequence[tuple[int, bytes]],
) -> tuple[Snapshot, int, list[bytes], str | None, bool, str | None]:
    """What can still be read of damaged bytes; arguments as for `Snapshot.open`, and each may be wrong or lacking.

    Gives the state, the version that the frames could be followed to, the ids of the blocks that could not be opened,
    the user whom the head names, if it can be read, whether the state at the head lacked nothing, and why the frames
    end before their last one.
    """

@final
class Histogram:
    """Whole numbers, counted by their size: percentiles to within 1 %, in some kB however many there are.

    It is the HDR histogram of Gil Tene (hdrhistogram.org).
    """

    def __new__(cls) -> Self: ...
    def record(self, value: int) -> None:
        """Count one value, not negative. Raises OverflowError for others."""

    def percentile(self, percent: float) -> int:
        """The value that `percent` of 100 of the values do not exceed, 0 if there are none. Raises ValueError."""

    @property
    def count(self) -> int:
        """How many values."""

    @property
    def max(self) -> int:
        """About the largest of them."""

def dumps(
    obj: Any,
    *,
    default: Callable[[Any], Any] | None = None,
    sort_keys: bool = False,
    indent: int | None = None,
) -> bytes:
    """The JSON text of a value (RFC 8259), in UTF-8 and without white space.

    dict, list, tuple, str, int, float, bool and None, and subclasses of them as what they inherit from; dataclasses by
    their fields; members of an Enum by their value; datetime, date and time as RFC 3339 text, UTC as `Z`, without an
    offset where they have none; UUID; an object with a method `to_dict` as what that gives. Records, lists of them and
    fields of a context that nobody has touched are copied as they are; a context is what `serialize_context` makes of
    it. `default` is called with any other value and gives one to encode in its place.

    Integers are exact whatever their size; floats have the fewest digits that read back as the same float, `-0.0` keeps
    its sign. Strings hold any character, `U+0000` too. `sort_keys` writes the members of each object by the code points
    of their keys, `indent` each on a line of its own, 0 to 64 spaces for each level; what is copied stays as it is.
    Nothing is changed in what is encoded: no UTF-8 copy is left in a str, no `__dict__` is made.

    Raises EncodeError, with the JSON Pointer of the value, for another type, NaN, infinities, lone surrogates, keys
    that are no str, containers deeper than 128 or changed meanwhile; RecursionError where calls inside of one another
    go too deep; whatever the Python code raises that is called.
    """

def loads(data: bytes | bytearray | memoryview | str) -> Any:
    """The value of a JSON text (RFC 8259), which is UTF-8 or a str: dict, list, str, int, float, bool and None.

    Numbers with a fraction or an exponent are floats, `-0` is the integer 0, other integers are exact whatever their
    size. Of doubled keys the last one counts, in the place of the first.

    Raises DecodeError with byte, line and column for anything else: bytes behind the value, NaN and Infinity, numbers
    that no float can hold (`1e400`), lone surrogates, invalid UTF-8, a byte order mark, containers deeper than 128.
    """

def choose_kernels(most: str) -> str:
    """Let vector kernels run of this level at most: baseline, avx2, avx512 or vbmi2; for measurements and tests.

    Gives the level that is taken, which the processor has.
    """

def read_directly(allowed: bool) -> None:
    """Whether objects may be read past the interpreter's public functions, on versions tested for it; for tests."""

def token() -> bytes:
    """16 random bytes from the operating system."""

def system_clock() -> int:
    """The time of this machine, in microseconds since 1970-01-01 UTC."""

def moved_expiry(
    rule: tuple[int, bool] | None, is_new: bool, times: tuple[int, int], current: int | None
) -> int | None:
    """What a save writes as the time of expiry, NEVER for none; None if it leaves it as it is.

    `rule` is how long a session lives, in microseconds, and whether that counts from its creation; None if nothing
    says. `times` are those of the creation and of now. The expiry moves when the rule is new, else only by more than a
    24th of the time a session lives: that spares most turns the write.
    """

def chat_form(message: Message) -> dict[str, Any]:
    """Those of `role`, `content`, `name`, `tool_calls` and `tool_call_id` that a message has, in its order."""

def append_frame(
    session_id: str,
    epoch: int,
    parent: bytes,
    etag: _Etag,
    change_id: str | None,
    time: int,
    field: str,
    record: Message | Product | PipelineExecution | PIIEntity,
) -> bytes:
    """The frame that appends one record to a list that the session has, whatever the rest of it is."""

def check_block(session_id: str, epoch: int, stored: _Block) -> None:
    """Open one block by itself, whatever its head says of it. Raises CorruptSessionError."""

def patch_of(session_id: str, epoch: int, version: int, body: bytes) -> bytes:
    """The JSON Patch in the body of a frame. Raises CorruptSessionError."""

def plain(value: Any) -> Any:
    """A copy of a field's value as JSON types: records as dicts, a time as text. Raises EncodeError."""
