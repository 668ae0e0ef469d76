"""Rotates the keys of an SQLite file until its input ends: `python -m benches.rotate FILE KEY OTHER`.

Each round puts everything under the other key, in the pace of `swisper-ctx rotate`. A line is printed for each.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import cycle

from swisper_ctx import Keyring, SQLiteSessionStore
from swisper_ctx.cli.reading import session_ids
from swisper_ctx.stores.rotation import seal_anew


async def main(file: str, *keys: str) -> None:
    store = SQLiteSessionStore(file)
    reader = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for order in cycle((keys, keys[::-1])):
        print("round", flush=True)
        for session_id in await session_ids(store, None):
            await seal_anew(store, Keyring(order), session_id)
            if reader.done():
                await store.aclose()
                return


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
