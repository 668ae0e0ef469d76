"""Opening a store by its URL."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from swisper_ctx.errors import StoreError
from swisper_ctx.stores.base import SessionStore

_classes = {
    "memory": "swisper_ctx.stores.memory:MemorySessionStore",
    "postgres": "swisper_ctx.stores.postgres:PostgresSessionStore",
    "postgresql": "swisper_ctx.stores.postgres:PostgresSessionStore",
    "shelve": "swisper_ctx.stores.shelve:ShelveSessionStore",
    "sqlite": "swisper_ctx.stores.sqlite:SQLiteSessionStore",
}


def register(scheme: str, target: str) -> None:
    """Let URLs of `scheme` be opened by `target`, "module:Class", whose `from_url(url, **options)` gives the store.

    The module is imported when the first such URL is opened. A scheme that is known already is taken over.
    """
    module, _, name = target.partition(":")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not module or not name:
        raise ValueError('a store is registered as a lower-case scheme and "module:Class"')
    _classes[scheme] = target


def open_cache(url: str, store: SessionStore, **options: Any) -> SessionStore:
    """The RedisCache that `url` names, in front of a store, with its `options`. StoreError as from `open_store`."""
    try:
        cache_class = import_module("swisper_ctx.stores.redis").RedisCache
    except ImportError as error:
        raise StoreError(f"the cache for redis:// cannot be imported: {error}") from error
    cache: SessionStore = cache_class(url, store, **options)
    return cache


def open_store(url: str, **options: Any) -> SessionStore:
    """The store that `url` names: `memory://`, `sqlite:///relative.db`, `shelve:////absolute`, or one registered.

    `options` are those of the store's class. Nothing is opened or connected before the first operation. StoreError
    for a scheme that is not known, or a store whose driver is not installed.
    """
    # Errors name the scheme alone: anything after it may be a password.
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _classes:
        known = ", ".join(f"{name}://" for name in sorted(_classes))
        raise StoreError(f"no store has a URL like this one; known are {known}")
    module, _, name = _classes[scheme].partition(":")
    try:
        store_class = getattr(import_module(module), name)
    except ImportError as error:
        raise StoreError(f"the store for {scheme}:// cannot be imported: {error}") from error
    store: SessionStore = store_class.from_url(url, **options)
    return store
