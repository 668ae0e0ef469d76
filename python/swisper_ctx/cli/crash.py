"""The recording process's side of the crash: start the writer, note what it acknowledges, kill it halfway."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KILL_BETWEEN = (0.40, 0.55)


class Ack(NamedTuple):
    """One acknowledged save: what the writer was told to be durable."""

    session_id: str
    version: int
    messages: int
    turn: int


class Crash(NamedTuple):
    """What the writer had acknowledged when it died."""

    acks: tuple[Ack, ...]
    seconds: float
    """From the first acknowledgement to the last."""
    killed: bool
    """False if the writer had done everything before the signal reached it."""

    @property
    def last(self) -> dict[str, Ack]:
        """The last acknowledgement of each session."""
        return {ack.session_id: ack for ack in self.acks}


class WriterError(Exception):
    """The writer failed by itself."""


def parse_acks(lines: Iterable[bytes]) -> Iterable[Ack]:
    """The acknowledgements on these lines; one that the kill cut short was never sent whole, and does not count."""
    for line in lines:
        if line.endswith(b"\n"):
            session_id, *numbers = line.decode().split()
            yield Ack(session_id, *map(int, numbers))


def write_until_killed(url: str, run: str, users: int, turns: int, advance: Callable[[], None]) -> Crash:
    """Run the writer, and kill it with SIGKILL at a random moment near the half of all turns."""
    command = [sys.executable, "-m", "swisper_ctx.cli.replay", url, run, str(users)]
    limit = int(turns * random.uniform(*KILL_BETWEEN))  # noqa: S311 - no secret
    acks: list[Ack] = []
    started = ended = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:  # noqa: S603 - this very program
        try:
            for ack in parse_acks(writer.stdout or ()):
                ended = time.perf_counter()
                started = started or ended
                acks.append(ack)
                advance()
                if len(acks) == limit:
                    # An acknowledgement follows a commit closely: without a delay the signal always met the same phase.
                    time.sleep(random.uniform(0, 0.2) * (ended - started))  # noqa: S311 - no secret
                    writer.kill()
        except BaseException:
            writer.kill()
            raise
    if writer.returncode > 0:
        raise WriterError(f"the writer ended with exit code {writer.returncode}; its message stands above")
    return Crash(tuple(acks), ended - started, len(acks) < turns)
