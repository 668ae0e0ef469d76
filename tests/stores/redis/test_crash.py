"""kill -9 between a commit and its way to Redis, and at random: nothing acknowledged is lost or hidden by Redis."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
from tests.stores.redis.crash_child import NAMES

from swisper_ctx import SessionCache, SwisperContext
from swisper_ctx.stores.redis import RedisCache
from swisper_ctx.stores.sqlite import SQLiteSessionStore

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[3]


def run_until_killed(path: Path, url: str, *count: str, delay: float = 60) -> list[list[str]]:
    """The lines of a process that dies at a failpoint, or is killed so many seconds after it began to work."""
    command = [sys.executable, "-m", "tests.stores.redis.crash_child", str(path), url, *count]
    package = Path(sys.modules["swisper_ctx"].__path__[0]).parent
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    lines: list[list[str]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True) as child:
        killer = threading.Timer(delay, child.kill)
        for line in child.stdout or ():
            if not lines:
                killer.start()
            lines.append(line.rstrip().split(maxsplit=3))
        killer.cancel()
    assert child.returncode == -signal.SIGKILL
    return lines


class Expected:
    """What was acknowledged of each session, and the one text that may have come after."""

    def __init__(self) -> None:
        self.said: dict[str, list[str]] = {name: [] for name in NAMES}
        self.perhaps: dict[str, str] = {}

    def hear(self, lines: list[list[str]]) -> None:
        for word, name, number, text in lines:
            if word == "begin":
                self.perhaps[name] = text
                continue
            del self.perhaps[name]
            self.said[name] = [*self.said[name][: int(number) - 1], text]

    def agree(self, name: str, context: SwisperContext | None) -> None:
        """The context has all of it; what it has more from now on counts as acknowledged."""
        found = [] if context is None else [str(message.content) for message in context.conversation_history]
        said, perhaps = self.said[name], self.perhaps.pop(name, None)
        assert found in (said, [*said, perhaps]), name
        self.said[name] = found


async def look(path: Path, url: str, expected: Expected) -> tuple[int, int]:
    """Another process reads: what Redis served, and what it had of another version."""
    cache = RedisCache(url, SQLiteSessionStore(path))
    for name in NAMES:
        context = await cache.load_session(name)
        expected.agree(name, context)
        stored = await cache.store.load_session(name)
        assert (context and context.etag) == (stored and stored.etag)
    served = cache.counts.hits, cache.counts.stale
    assert cache.counts.damaged == 0
    await cache.aclose()
    return served


def test_killed_before_redis_hears_of_a_commit(redis_url: str, tmp_path: Path, effort: int) -> None:
    expected, stale = Expected(), 0
    for _ in range(4 * min(effort, 10)):
        expected.hear(run_until_killed(tmp_path / "s.db", redis_url, str(random.randint(3, 12))))
        stale += asyncio.run(look(tmp_path / "s.db", redis_url, expected))[1]
    assert stale > 0
    assert all(expected.said.values())


def test_killed_at_random(redis_url: str, tmp_path: Path, effort: int) -> None:
    expected, hits = Expected(), 0
    for _ in range(12 * min(effort, 5)):
        expected.hear(run_until_killed(tmp_path / "s.db", redis_url, delay=random.uniform(0, 0.1)))
        hits += asyncio.run(look(tmp_path / "s.db", redis_url, expected))[0]
    assert hits > 0


async def test_a_process_that_was_running_sees_it_after_max_staleness(redis_url: str, tmp_path: Path) -> None:
    path, now = tmp_path / "s.db", 100.0
    await asyncio.to_thread(run_until_killed, path, redis_url, "5")
    cache = RedisCache(redis_url, SQLiteSessionStore(path))
    memory = SessionCache(cache, max_staleness=1.0, monotonic=lambda: now)
    before = await memory.load_session("a")
    assert before is not None
    await asyncio.to_thread(run_until_killed, path, redis_url, "4")
    now += 1.01
    after, truth = await memory.load_session("a"), await cache.store.load_session("a")
    assert after is not None
    assert truth is not None
    assert after.etag == truth.etag != before.etag
    await memory.aclose()


async def test_what_was_left_in_redis_is_made_up_for_by_the_next_turn(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await asyncio.to_thread(run_until_killed, path, redis_url, "5")
    cache = RedisCache(redis_url, SQLiteSessionStore(path))
    for _ in range(2):
        for name in NAMES:
            assert await cache.load_session(name) is not None
        await cache.settle()
    assert cache.counts.hits >= len(NAMES)
    with redis.Redis.from_url(redis_url) as client:
        assert len(client.keys()) == len(NAMES)
    await cache.aclose()
