"""Everything that swisper_ctx raises.

ContextError
├── CodecError (ValueError)
│   ├── EncodeError
│   └── DecodeError
├── PatchError (ValueError)
├── NotLoadedError (LookupError)
├── InvalidTransitionError (ValueError)
├── StoreError
│   ├── StoreUnavailableError
│   │   └── OutcomeUnknownError
│   ├── ConflictError
│   ├── SessionNotFoundError (LookupError)
│   ├── VersionUnavailableError (LookupError)
│   └── CorruptSessionError
├── DecryptionError
└── PrivacyError

No message holds content, keys or personal data: only names, places, sizes and versions.
"""

from __future__ import annotations

import copyreg
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from swisper_ctx.log import Etag


class ContextError(Exception):
    """The base of every error of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by calling the class, which makes the text from other arguments.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class CodecError(ContextError, ValueError):
    """A value that JSON cannot hold, or bytes that are no JSON.

    `kind` says what is wrong, `index` is the byte where decoding stopped (None when encoding), `line` and `column` are
    its place in the text, in characters counted from 1; `pointer` is the JSON Pointer (RFC 6901) of the value at fault.
    """

    def __init__(
        self,
        kind: str,
        *,
        index: int | None = None,
        line: int | None = None,
        column: int | None = None,
        pointer: str = "",
    ) -> None:
        self.kind, self.index, self.line, self.column, self.pointer = kind, index, line, column, pointer
        place = f" at byte {index}" if index is not None else ""
        place += f" (line {line}, column {column})" if line is not None else ""
        super().__init__(f"{kind}{place}" + (f" (at {pointer})" if pointer else ""))

    def _within(self, name: str | int) -> Self:
        """The same error, told of the container that has this value under a name."""
        token = str(name).replace("~", "~0").replace("/", "~1")
        place = {"index": self.index, "line": self.line, "column": self.column}
        return type(self)(self.kind, **place, pointer=f"/{token}{self.pointer}")


class EncodeError(CodecError):
    """A value that a context cannot hold; `pointer` leads to it. Nothing was changed or written."""


class DecodeError(CodecError):
    """Bytes that are not the JSON they should be."""


class PatchError(ContextError, ValueError):
    """A JSON Patch (RFC 6902) that is malformed or does not fit its document."""

    def __init__(self, problem: str, *, operation: int | None = None, path: str = "") -> None:
        self.operation, self.path = operation, path
        place = f"operation {operation}: " if operation is not None else ""
        super().__init__(f"{place}{problem}" + (f" (path {path})" if path else ""))


class NotLoadedError(ContextError, LookupError):
    """The records asked for were left in the store by `tail=`; `await context.load_history()` fetches them."""


class InvalidTransitionError(ContextError, ValueError):
    """A change of `current_state` that the caller's table does not allow; the state is as before."""

    def __init__(self, current: str, target: str, allowed: Collection[str]) -> None:
        self.current, self.target, self.allowed = current, target, tuple(sorted(allowed))
        choice = ", ".join(self.allowed) or "none"
        super().__init__(f"{current!r} cannot become {target!r}; allowed: {choice}")


class StoreError(ContextError):
    """A store could not do what was asked; the driver's own error is the cause."""


class StoreUnavailableError(StoreError):
    """The store could not be reached or could not write in time. Nothing was written; the call may be repeated."""


class OutcomeUnknownError(StoreUnavailableError):
    """The answer to a write was lost. It may have been written: save again, and it is written once."""


CONFLICTS = {
    "overlap": "somebody else has changed the same",
    "test": "something that the change departs from has changed",
    "tool_calls": "a call of a tool waits for its answer, and nothing may come between",
    "barrier": "consent, retention or a recovery lies between, which merge with nothing",
    "unidentified": "a record was edited that has no id to be known by",
    "too_old": "what was saved since is no longer kept",
    "busy": "it would merge, but others were faster each time",
    "past": "the context shows an old version",
    "saved": "the session was saved meanwhile",
    "rewritten": "the history was rewritten meanwhile",
    "gone": "the session is gone",
    "exists": "the session exists already",
    "change_id": "the log holds this change_id already, and the context has other edits",
}


class ConflictError(StoreError):
    """Somebody else saved first, and both do not merge. Nothing of this save was written.

    Load the session again and repeat the edit, as `update` does. `expected` is the state that the edit was made on,
    `actual` what the store holds (None: the session is gone), `paths` the JSON Pointers that both sides touched,
    where that is the reason, which is one of

        overlap         somebody else has changed the same
        test            something that the change departs from has changed
        tool_calls      a call of a tool waits for its answer: no other message may come between
        barrier         consent, retention or a recovery, which merge with nothing
        unidentified    a record was edited that has no id to be known by
        too_old         the log does not lead from that state to the present one any more
        busy            it would merge, but somebody else was faster 16 times in a row: save it again
        past            the context is one of `at_version`
        saved           somebody has saved the session while it was recovered
        rewritten       the records that `tail=` left in the store are no longer there
        gone, exists    there is no such session, or there is one where it was to be created
        change_id       the log holds this change_id, and the context has edits that are not part of that change
    """

    def __init__(
        self, reason: str, *, expected: Etag | None = None, actual: Etag | None = None, paths: Sequence[str] = ()
    ) -> None:
        self.reason, self.expected, self.actual, self.paths = reason, expected, actual, tuple(paths)
        versions = [f"{n} version {e.version}" for n, e in (("expected", expected), ("actual", actual)) if e]
        super().__init__("; ".join([f"not written: {CONFLICTS.get(reason, reason)}", *versions]))


class SessionNotFoundError(StoreError, LookupError):
    """There is no such session, or it belongs to another user."""


class VersionUnavailableError(StoreError, LookupError):
    """A version that has been folded away, or is yet to come; those from `oldest` to `newest` can be had."""

    def __init__(self, version: int, oldest: int, newest: int) -> None:
        self.version, self.oldest, self.newest = version, oldest, newest
        if version > newest:
            super().__init__(f"there is no version {version} yet; the newest is {newest}")
        else:
            super().__init__(f"version {version} is no longer kept; the oldest is {oldest}")


class CorruptSessionError(StoreError):
    """Stored bytes of one session are damaged, foreign or of a newer format. Other sessions are not affected.

    `session_id` names the session and `block` which of its blocks.
    """

    def __init__(self, problem: str, *, session_id: str | None = None, block: str | None = None) -> None:
        self.problem, self.session_id, self.block = problem, session_id, block
        where = " of ".join(filter(None, (block, f"session {session_id}" if session_id else None)))
        super().__init__(f"{where}: {problem}" if where else problem)


class DecryptionError(ContextError):
    """Bytes that none of the keys opens, or that were sealed for another place. Other sessions are not affected.

    `session_id` and `block` say what was expected, `keys` how many keys were tried.
    """

    def __init__(
        self, problem: str, *, session_id: str | None = None, block: str | None = None, keys: int | None = None
    ) -> None:
        self.problem, self.session_id, self.block, self.keys = problem, session_id, block, keys
        where = " of ".join(filter(None, (block, f"session {session_id}" if session_id else None)))
        tried = "" if keys is None else f" ({keys} key{'' if keys == 1 else 's'} tried)"
        super().__init__((f"{where}: {problem}" if where else problem) + tried)


class PrivacyError(ContextError):
    """A `data_retention_policy` that means nothing."""
