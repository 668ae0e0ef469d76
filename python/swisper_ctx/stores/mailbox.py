"""Calls into an event loop from a thread."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

Answered = Callable[[Any, BaseException | None], None]
"""Called with a result and None, or with None and what was raised."""

Post = Callable[[Answered, object, BaseException | None], None]
"""Has the event loop call this with these, soon; posts in vain to one that was closed. From any thread."""


class Mailboxes:
    """A way into each of the event loops that were asked from."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()

    def here(self) -> Post:
        """The way into the running one."""
        loop = asyncio.get_running_loop()
        mailbox = self._of.get(loop)
        if mailbox is None:
            if not hasattr(os, "eventfd"):
                return partial(_post_slowly, loop)
            try:
                mailbox = self._of[loop] = Mailbox(loop)
            except NotImplementedError:  # not a loop that watches descriptors
                return partial(_post_slowly, loop)
        return mailbox.post

    def close(self) -> None:
        """Close that of the running one, which nobody will post to any more."""
        loop = asyncio.get_running_loop()
        mailbox = self._of.pop(loop, None)
        if mailbox is not None:
            loop.remove_reader(mailbox.fd)


class Mailbox:
    """What threads have posted to one event loop, which an eventfd tells of.

    That is a write and a read. `call_soon_threadsafe` writes to a socket, which the loop reads until that raises:
    12,000 instructions, a sixteenth of a durable turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Not before the loop and all who could post have forgotten this: the number would mean something else then.
        weakref.finalize(self, os.close, self.fd).atexit = False
        self._letters: deque[tuple[Answered, object, BaseException | None]] = deque()
        # Not in the context of who happens to ask first.
        Context().run(loop.add_reader, self.fd, self._read)

    def post(self, answered: Answered, result: object, error: BaseException | None) -> None:
        """See `Post`."""
        self._letters.append((answered, result, error))
        os.eventfd_write(self.fd, 1)

    def _read(self) -> None:
        os.eventfd_read(self.fd)
        try:
            while self._letters:
                _open(*self._letters.popleft())
        finally:
            if self._letters:  # one has stopped the event loop, which may be started again
                os.eventfd_write(self.fd, 1)


def _open(answered: Answered, result: object, error: BaseException | None) -> None:
    try:
        Context().run(answered, result, error)
    except Exception as failure:  # noqa: BLE001 - as of any callback
        about = {"message": "an answer could not be delivered", "exception": failure}
        asyncio.get_running_loop().call_exception_handler(about)


def _post_slowly(
    loop: asyncio.AbstractEventLoop, answered: Answered, result: object, error: BaseException | None
) -> None:
    with suppress(RuntimeError):  # it has been closed meanwhile
        loop.call_soon_threadsafe(answered, result, error)
