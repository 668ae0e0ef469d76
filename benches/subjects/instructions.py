"""Instructions, counted by valgrind: of a turn with a short and a long history, and of a message encoded and decoded.

valgrind has no AVX-512: what is counted of the codecs are their kernels for AVX2.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

from benches.callgrind import a_turn, count
from benches.figure import Costs, Figure, Limit
from benches.peers.codecs import MESSAGES, OURS

SHORT, LONG, QUICK = 100, 1_000_000, 2_000
LIMIT = Limit("≤", 1.05)
FASTEST = {
    "dumps of dicts": "ssrjson",
    "dumps of dataclasses": "orjson",
    "dumps of slots dataclasses": "msgspec",
    "loads": "ssrjson",
}


def figures(quick: bool) -> list[Figure]:
    if shutil.which("valgrind") is None:
        print("\ninstructions: not counted, for there is no valgrind on this machine (apt-get install valgrind)")
        return []
    more, long = (100, QUICK) if quick else (1_000, LONG)
    runs = [(SHORT, 0), (long, 0), (SHORT, 1), (long, 1)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        costs = list(pool.map(lambda run: a_turn(run[0], run[1], more), runs))
        messages = list(pool.map(of_messages, list(FASTEST)[: 1 if quick else None]))
    label = f"instructions of a turn{{}}: {long:,} messages / {SHORT}"
    return [
        Figure(label.format(""), LIMIT, costs[1], costs[0]),
        Figure(label.format(", a reader holds an old snapshot"), LIMIT, costs[3], costs[2]),
        *messages,
    ]


def of_messages(what: str) -> Figure:
    """What the fastest of the others needs for a message, by what we need."""
    peer, ours = (a_message(what, codec) for codec in (FASTEST[what], OURS))
    return Figure(f"instructions of a message, {what}: {FASTEST[what]} (the fastest) / ours", None, peer, ours)


def a_message(what: str, codec: str) -> Costs:
    few, many = (count("count_messages", what, codec, times) for times in (1, 11))
    return Costs(codec, "instructions", [(many - few) / 10 / MESSAGES])
