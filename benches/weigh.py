"""Weighs a long session in a process of its own: `python -m benches.weigh appended|stored|loaded FILE MESSAGES`.

`stored` writes what a store gives of it to a file, `loaded` opens it from there, so that the memory of a driver does
not count. Both others print as JSON the bytes of memory that it takes, the bytes of its JSON, and the time of a full
garbage collection without it and with it.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import sys
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter_ns

from benches.conversation import METADATA, TIMESTAMP, texts
from benches.stored import folded

from swisper_ctx import Message, SwisperContext
from swisper_ctx.stores.loaded import opened


def resident() -> int:
    """The memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def collection() -> int:
    """The shortest of some full passes, in nanoseconds."""
    times = []
    for _ in range(10):
        start = perf_counter_ns()
        gc.collect()
        times.append(perf_counter_ns() - start)
    return min(times)


def append(context: SwisperContext, messages: int) -> None:
    for text in islice(cycle(texts()), messages):
        message = Message(role="user", content=text, timestamp=TIMESTAMP, metadata=METADATA)
        context.conversation_history.append(message)


def main(how: str, file: Path, messages: int) -> None:
    if how == "stored":
        file.write_bytes(pickle.dumps(folded(messages)))
        return
    # What is made only once is made before.
    warm = SwisperContext()
    append(warm, 1_000)
    before, pause = resident(), collection()
    if how == "appended":
        context = SwisperContext()
        append(context, messages)
    else:
        with file.open("rb") as source:
            context = opened(pickle.load(source), SwisperContext)
    memory, longer = resident() - before, collection()
    assert len(context.conversation_history) == messages
    size = 2 + sum(len(message.to_json()) + 1 for message in context.conversation_history)
    print(json.dumps({"memory": memory, "json": size, "gc_without": pause, "gc_with": longer}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
