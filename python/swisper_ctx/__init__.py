"""What an AI assistant remembers between two turns; a turn costs what changed, not what there is."""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence
from typing import TYPE_CHECKING, Any

from swisper_ctx._core import LRUCache, Message, PIIEntity, PipelineExecution, Product, RecordList
from swisper_ctx.context import SwisperContext, deserialize_context, serialize_context
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
from swisper_ctx.fields import field
from swisper_ctx.keys import KeyProvider, Keyring
from swisper_ctx.log import Etag, SessionInfo, SessionPage, VersionInfo
from swisper_ctx.manager import PipelineRun, PipelineSessionManager
from swisper_ctx.stores.base import SessionStore

if TYPE_CHECKING:
    from swisper_ctx.stores.encrypted import EncryptedSessionStore
    from swisper_ctx.stores.memory import MemorySessionStore
    from swisper_ctx.stores.shelve import ShelveSessionStore
    from swisper_ctx.stores.sqlite import SQLiteSessionStore

MutableSequence.register(RecordList)
MutableMapping.register(LRUCache)

__all__ = [
    "CodecError",
    "ConflictError",
    "ContextError",
    "CorruptSessionError",
    "DecodeError",
    "DecryptionError",
    "EncodeError",
    "EncryptedSessionStore",
    "Etag",
    "InvalidTransitionError",
    "KeyProvider",
    "Keyring",
    "LRUCache",
    "MemorySessionStore",
    "Message",
    "NotLoadedError",
    "OutcomeUnknownError",
    "PIIEntity",
    "PatchError",
    "PipelineExecution",
    "PipelineRun",
    "PipelineSessionManager",
    "PrivacyError",
    "Product",
    "RecordList",
    "SQLiteSessionStore",
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
    "deserialize_context",
    "field",
    "serialize_context",
]

_STORES = {
    "EncryptedSessionStore": "swisper_ctx.stores.encrypted",
    "MemorySessionStore": "swisper_ctx.stores.memory",
    "ShelveSessionStore": "swisper_ctx.stores.shelve",
    "SQLiteSessionStore": "swisper_ctx.stores.sqlite",
}


def __getattr__(name: str) -> Any:
    """Import a store when it is asked for: the package itself imports no driver."""
    if name not in _STORES:
        raise AttributeError(f"module 'swisper_ctx' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_STORES[name]), name)
