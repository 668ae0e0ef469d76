"""Encodes or decodes messages, for valgrind to count: `python -m benches.count_messages WHAT CODEC TIMES`.

The first time leaves in the objects what a codec leaves there; what is counted is each time after it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import orjson
from benches.peers.codecs import DECODERS, ENCODERS, PlainMessage, SlottedMessage, messages

WHAT: dict[str, Callable[[], Any]] = {
    "dumps of dicts": messages,
    "dumps of dataclasses": lambda: [PlainMessage(**each) for each in messages()],
    "dumps of slots dataclasses": lambda: [SlottedMessage(**each) for each in messages()],
    "loads": lambda: orjson.dumps(messages()),
}


def main(what: str, codec: str, times: int) -> None:
    given = WHAT[what]()
    work = DECODERS[codec] if what == "loads" else ENCODERS[codec]
    expected = orjson.loads(orjson.dumps(messages()))
    gc.disable()
    for _ in range(times):
        result = work(given)
    assert (result if what == "loads" else orjson.loads(result)) == expected


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
