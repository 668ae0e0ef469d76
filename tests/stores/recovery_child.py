"""Recovers the session `s` of a store, and kills itself at a failpoint.

python recovery_child.py URL FAILPOINT
"""

from __future__ import annotations

import asyncio
import sys

from tests.stores.crash_child import Deadly

from swisper_ctx.stores.registry import open_store


async def main(url: str, failpoint: str) -> None:
    await open_store(url, failpoint=Deadly(failpoint, 1)).recover("s")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
