"""What an AI assistant remembers between two turns; a turn costs what changed, not what there is."""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

from swisper_ctx._core import (
    LRUCache,
    Message,
    Patch,
    PIIEntity,
    PipelineExecution,
    Product,
    RecordList,
    apply_patch,
    diff,
    dumps,
    loads,
)
from swisper_ctx.context import SwisperContext, deserialize_context, serialize_context
from swisper_ctx.draft import Draft
from swisper_ctx.errors import (
    CodecError,
    ConflictError,
    ContextError,
    CorruptSessionError,
    DecodeError,
    DecryptionError,
    EncodeError,
    InvalidTransitionError,
    NotLoadedError,
    OutcomeUnknownError,
    PatchError,
    PrivacyError,
    SessionNotFoundError,
    StoreError,
    StoreUnavailableError,
    VersionUnavailableError,
)
from swisper_ctx.events import EventName, OnEvent
from swisper_ctx.fields import field
from swisper_ctx.keys import KeyProvider, Keyring
from swisper_ctx.log import Etag, SessionInfo, SessionPage, VersionInfo
from swisper_ctx.manager import PipelineRun, PipelineSessionManager
from swisper_ctx.stats import PerformanceCache, PipelineStats
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.recovery import RecoveryReport

if TYPE_CHECKING:
    from swisper_ctx.stores.cache import SessionCache
    from swisper_ctx.stores.encrypted import EncryptedSessionStore
    from swisper_ctx.stores.memory import MemorySessionStore
    from swisper_ctx.stores.redis import RedisCache
    from swisper_ctx.stores.shelve import ShelveSessionStore
    from swisper_ctx.stores.sqlite import SQLiteSessionStore

MutableSequence.register(RecordList)
MutableMapping.register(LRUCache)
Sequence.register(Patch)

__all__ = [
    "CodecError",
    "ConflictError",
    "ContextError",
    "CorruptSessionError",
    "DecodeError",
    "DecryptionError",
    "Draft",
    "EncodeError",
    "EncryptedSessionStore",
    "Etag",
    "EventName",
    "InvalidTransitionError",
    "KeyProvider",
    "Keyring",
    "LRUCache",
    "MemorySessionStore",
    "Message",
    "NotLoadedError",
    "OnEvent",
    "OutcomeUnknownError",
    "PIIEntity",
    "Patch",
    "PatchError",
    "PerformanceCache",
    "PipelineExecution",
    "PipelineRun",
    "PipelineSessionManager",
    "PipelineStats",
    "PrivacyError",
    "Product",
    "RecordList",
    "RecoveryReport",
    "RedisCache",
    "SQLiteSessionStore",
    "SessionCache",
    "SessionInfo",
    "SessionNotFoundError",
    "SessionPage",
    "SessionStore",
    "ShelveSessionStore",
    "StoreError",
    "StoreUnavailableError",
    "SwisperContext",
    "VersionInfo",
    "VersionUnavailableError",
    "apply_patch",
    "deserialize_context",
    "diff",
    "dumps",
    "field",
    "loads",
    "serialize_context",
]

_STORES = {
    "EncryptedSessionStore": "swisper_ctx.stores.encrypted",
    "MemorySessionStore": "swisper_ctx.stores.memory",
    "RedisCache": "swisper_ctx.stores.redis",
    "SessionCache": "swisper_ctx.stores.cache",
    "ShelveSessionStore": "swisper_ctx.stores.shelve",
    "SQLiteSessionStore": "swisper_ctx.stores.sqlite",
}


def __getattr__(name: str) -> Any:
    """Import a store when it is asked for: the package itself imports no driver."""
    if name not in _STORES:
        raise AttributeError(f"module 'swisper_ctx' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_STORES[name]), name)
