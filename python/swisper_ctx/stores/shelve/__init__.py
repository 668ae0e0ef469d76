"""Sessions in a file of the standard library's shelve, for one process."""

from swisper_ctx.stores.shelve.store import ShelveSessionStore

__all__ = ["ShelveSessionStore"]
