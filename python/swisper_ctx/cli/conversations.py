"""The conversations that the demo replays: found, chained for each user, and cut into turns."""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE = Path("taubench_airline_trajectories") / "gpt-4o-airline.json.gz"
SAMPLE = Path(__file__).parent / "sample" / "airline.json.gz"

JsonObject = dict[str, Any]


class SourceError(Exception):
    """The conversations cannot be read; the text says why."""


class Turn(NamedTuple):
    """What the user says, and everything up to the user's next message."""

    number: int
    messages: tuple[JsonObject, ...]


class Conversation(NamedTuple):
    """All conversations of one user, one after the other."""

    user_id: str
    turns: tuple[Turn, ...]

    @property
    def messages(self) -> list[JsonObject]:
        """The messages of all turns."""
        return messages_of(self.turns)

    def turns_in(self, messages: int) -> int:
        """How many whole turns stand in the first `messages` messages."""
        return sum(end <= messages for end in accumulate(len(turn.messages) for turn in self.turns))


class Source(NamedTuple):
    """Where the conversations are from, how many were chained, and the chains, longest first."""

    path: Path
    chained: int
    conversations: tuple[Conversation, ...]

    @property
    def turns(self) -> int:
        """The turns of all users."""
        return sum(len(conversation.turns) for conversation in self.conversations)

    @property
    def messages(self) -> int:
        """The messages of all users."""
        return sum(len(conversation.messages) for conversation in self.conversations)


def messages_of(turns: Iterable[Turn]) -> list[JsonObject]:
    """The messages of some turns, in order."""
    return [message for turn in turns for message in turn.messages]


def load_source(users: int | None = None) -> Source:
    """The conversations of all users, or of the `users` with the longest ones."""
    path = find_file()
    try:
        with gzip.open(path, "rb") as file:
            dialogues: list[JsonObject] = json.load(file)
        chains = chain(dialogues)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise SourceError(f"{path} does not hold tau-bench conversations: {problem!r}") from problem
    kept = dict(sorted(chains.items(), key=lambda item: (-sum(map(len, item[1])), item[0]))[:users])
    conversations = tuple(Conversation(user, tuple(cut(dialogues))) for user, dialogues in kept.items())
    return Source(path, sum(map(len, kept.values())), conversations)


def find_file() -> Path:
    """The file that SWISPER_DATA names, else the one beside the project, else the sample in the package."""
    if named := os.environ.get("SWISPER_DATA"):
        path = Path(named)
        choices = [path, path / FILE, path / FILE.name]
        missing = SourceError(f"SWISPER_DATA names {path}, which neither is nor holds {FILE.name}")
    else:
        above = (*Path(__file__).parents, Path.cwd(), *Path.cwd().parents)
        choices = [*(directory / "shared" / "data" / FILE for directory in above), SAMPLE]
        missing = SourceError(f"the sample {SAMPLE} is missing; is the package whole?")
    for choice in choices:
        if choice.is_file():
            return choice
    raise missing


def chain(dialogues: Iterable[JsonObject]) -> dict[str, list[list[JsonObject]]]:
    """For each user the messages of each of their dialogues, in order of task and trial."""
    chains: defaultdict[str, list[list[JsonObject]]] = defaultdict(list)
    for dialogue in sorted(dialogues, key=lambda each: (each["task_id"], each["trial"])):
        chains[dialogue["info"]["task"]["user_id"]].append(dialogue["traj"])
    return dict(chains)


def cut(dialogues: Iterable[list[JsonObject]]) -> Iterator[Turn]:
    """The turns of some dialogues: each begins with a user message, or with the system prompt before it."""
    number, current = 1, list[JsonObject]()
    for message in (message for messages in dialogues for message in messages):
        begins = message["role"] == "system" or (message["role"] == "user" and not opens(current))
        if begins and current:
            yield Turn(number, tuple(current))
            number, current = number + 1, []
        current.append(message)
    if current:
        yield Turn(number, tuple(current))


def opens(messages: list[JsonObject]) -> bool:
    """Whether these are only system prompts, to which the next user message belongs."""
    return bool(messages) and all(message["role"] == "system" for message in messages)
