"""The compiled core: records, lists of them, and the state of a session."""

from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from datetime import datetime
from types import GenericAlias
from typing import Any, Final, Self, SupportsIndex, TypeAlias, TypeVar, final, overload

__all__ = [
    "Delta",
    "Histogram",
    "Message",
    "PIIEntity",
    "PipelineExecution",
    "Product",
    "RecordList",
    "Snapshot",
    "append_frame",
    "chat_form",
    "patch_of",
    "plain",
    "token",
]

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
    def append(self, record: _R | dict[str, Any]) -> None: ...
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
    def select(self, *names: str) -> list[tuple[Any, ...]]:
        """These fields of every record, decoded; None where a record has none. Raises AttributeError for other names.

        It takes less than reading them one by one: prompts are built so.
        """

    def to_dicts(self) -> list[dict[str, Any]]:
        """All records as dicts of JSON types."""

_Etag: TypeAlias = tuple[int, bytes]
_NewBlock: TypeAlias = tuple[bytes, str, int, int, bytes]
_Block: TypeAlias = tuple[bytes, str, int, int, bytes | None]

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
        blocks: Sequence[_Block],
        frames: Sequence[tuple[int, bytes]],
    ) -> Snapshot:
        """The state that stored bytes stand for. Segments are opened when they are touched.

        `head` and `frames` are (version, body), `blocks` (id, field, position, records, body). Raises
        CorruptSessionError.
        """

    @property
    def is_empty(self) -> bool:
        """Whether it has no fields yet: nothing was ever saved."""

    @property
    def missing(self) -> list[bytes]:
        """The ids of the blocks that were left in the store."""

    def fill(self, block_id: bytes, body: bytes) -> None:
        """Take in one of them, here and in every list and snapshot that shares it."""

    @property
    def names(self) -> list[str]:
        """The fields it has, in their order."""

    def __contains__(self, name: str, /) -> bool: ...
    def get(self, name: str) -> Any:
        """A field, decoded anew: a JSON value, or a RecordList."""

    def count(self, name: str) -> int:
        """How many records a list has; 0 for anything else."""

    def to_json(self) -> bytes:
        """All fields as one JSON object."""

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
        stored: Sequence[bytes],
    ) -> tuple[bytes, list[_NewBlock], list[bytes]]:
        """Head, new blocks, and those of the `stored` block ids that are no longer used."""

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

def token() -> bytes:
    """16 random bytes from the operating system."""

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
    """The frame that appends one record to a list, whatever the rest of the session is."""

def patch_of(session_id: str, epoch: int, version: int, body: bytes) -> bytes:
    """The JSON Patch in the body of a frame. Raises CorruptSessionError."""

def plain(value: Any) -> Any:
    """A copy of a field's value as JSON types: records as dicts, a time as text. Raises EncodeError."""
