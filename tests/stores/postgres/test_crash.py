"""kill -9 at failpoints and at random moments: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from tests.stores.crash_log import Told, look, run_until_killed
from tests.stores.postgres.locks import assert_whole
from tests.stores.postgres.schemas import execute

from swisper_ctx.stores.postgres import PostgresSessionStore

pytestmark = pytest.mark.servers
FAILPOINTS = [f"{job}.{step}" for job in ("commit", "checkpoint", "delete") for step in ("begin", "done")]
AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'swisper_ctx'"


async def at_rest(url: str) -> None:
    """The server does not know yet that a process has died, and does what it was asked."""
    deadline = time.monotonic() + 10
    while (await execute(url, AT_WORK))[0][0]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def check(url: str, told: Told) -> bool:
    """Whether the process died between beginning something and hearing that it was done."""
    await at_rest(url)
    in_between = told.check(await look(PostgresSessionStore(url)))
    await assert_whole(url)
    return in_between


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_a_failpoint(url: str, failpoint: str, effort: int) -> None:
    told = Told()
    for _ in range(min(effort, 5)):
        told.hear(run_until_killed(url, failpoint, str(random.randint(1, 5))))
        assert told.what == failpoint.partition(".")[0]
        assert asyncio.run(check(url, told))


def test_killed_at_random(url: str, effort: int) -> None:
    told, rounds = Told(), 5 * min(effort, 10)
    inside = 0
    for _ in range(rounds):
        told.hear(run_until_killed(url, begins=random.randint(1, 60), delay=random.uniform(0, 0.003)))
        inside += asyncio.run(check(url, told))
    assert rounds < 50 or inside >= 0.3 * rounds
