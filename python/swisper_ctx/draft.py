"""Messages that come in pieces."""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypedDict

from swisper_ctx._core import Message, RecordList, plain
from swisper_ctx.errors import EncodeError


class DraftFields(TypedDict, total=False):
    """What a draft may be given beside its role and its text."""

    message_id: str
    timestamp: datetime | None
    name: str | None
    tool_calls: list[Any] | None
    tool_call_id: str | None
    metadata: dict[str, Any] | None


class Draft:
    """A message that is still being written; `SwisperContext.draft` makes one."""

    def __init__(self, history: RecordList[Message], message: Message) -> None:
        self._history, self._message = history, message
        self._pieces: list[str] = []
        self._open = self._used = False

    @property
    def message_id(self) -> str | None:
        """The id that the message will have."""
        return self._message.message_id

    @property
    def text(self) -> str:
        """What has been written so far."""
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def write(self, piece: str) -> None:
        """Add a piece of text. Raises EncodeError for one that is no valid Unicode, ValueError outside of `with`."""
        if not self._open:
            raise ValueError("a draft is written to inside its with block")
        if not isinstance(piece, str):
            raise TypeError(f"a str was expected, not {type(piece).__name__}")
        self._pieces.append(plain(piece))

    def __enter__(self) -> Self:
        if self._used:
            raise ValueError("a draft is used once")
        self._open = self._used = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        text = self.text
        if error is None:
            self._history.append(self._message.replace(content=text))
        elif text:
            self._append_partial(text, error)

    def _append_partial(self, text: str, error: BaseException) -> None:
        metadata = {**(self._message.metadata or {}), "partial": True}
        try:
            self._history.append(self._message.replace(content=text, metadata=metadata))
        except EncodeError as refusal:
            # The first error goes on: a cancelled task must end as cancelled.
            error.add_note(f"the draft was lost: {refusal}")
