"""A million sessions in the tables: turns among them, and a cleanup of the many that have expired."""

from __future__ import annotations

import asyncio
from functools import partial

from benches.figure import Costs, Figure, Limit
from benches.interleave import interleave
from benches.offer import offered, percentile
from benches.servers import Servers, execute, servers
from benches.subjects.served import Loop, Ours

CROWD, FEW, EXPIRED = 1_000_000, 1_000, 100_000
SESSIONS, EACH = 64, 32
RATE = 500
FILL = (
    """INSERT INTO session_etags
        (session_id, user_id, created_at, epoch, expires_at, version, updated_at, messages, token)
    SELECT md5(n::text), 'u' || n % 5000, 1, 0, CASE WHEN n <= {expired} THEN 2 ELSE 4102444800000000 END, 1, 1, 2,
        decode(md5('token' || n), 'hex') FROM generate_series(1, {sessions}) AS n""",
    """INSERT INTO context_heads SELECT md5(n::text), 0, decode(md5('stamp' || n), 'hex'), TRUE, 1, ''::bytea
    FROM generate_series(1, {sessions}) AS n""",
    """INSERT INTO context_frames (session_id, version, time, token, body)
    SELECT md5(n::text), 1, 1, decode(md5('token' || n), 'hex'), decode(repeat('00', 100), 'hex')
    FROM generate_series(1, {sessions}) AS n""",
    # As in a database that has been there for a while: else autovacuum reads all of it beside one of two measurements.
    "VACUUM (ANALYZE)",
    "CHECKPOINT",
)


def figures(quick: bool) -> list[Figure]:
    crowd, expired = (CROWD // 50, EXPIRED // 50) if quick else (CROWD, EXPIRED)
    with servers() as few, servers() as many, asyncio.Runner() as runner:
        for where, sessions in ((few, FEW), (many, crowd)):
            for statement in FILL:
                runner.run(execute(where.dsn, statement.format(sessions=sessions, expired=expired)))
        return [among(runner, few, many, 1 if quick else 6), cleaning(runner, many, expired, 1.0 if quick else 8.0)]


def among(runner: asyncio.Runner, few: Servers, many: Servers, rounds: int) -> Figure:
    names = {few: f"{FEW:,} sessions", many: "a million"}
    stores = {where: Ours(where) for where in (few, many)}
    ways = {
        names[where]: Loop(runner, [partial(ours.turn, c) for c in runner.run(ours.begin(SESSIONS))], EACH).sample
        for where, ours in stores.items()
    }
    samples = interleave(ways, rounds)
    for ours in stores.values():
        runner.run(ours.manager.aclose())
    costs = {name: Costs(name, "ns", of) for name, of in samples.items()}
    name = "turns/s on PostgreSQL: among a million sessions / among 1,000"
    return Figure(name, Limit("≥", 0.7), costs[names[few]], costs[names[many]])


def cleaning(runner: asyncio.Runner, where: Servers, expired: int, seconds: float) -> Figure:
    ours = Ours(where)
    contexts = runner.run(ours.begin(SESSIONS))
    p99: dict[str, float] = {}

    async def live(name: str, work: asyncio.Future[int] | None) -> None:
        late = await offered(ours.turn, contexts, RATE, seconds)
        while work is not None and not work.done():
            late += await offered(ours.turn, contexts, RATE, 1.0)
        p99[name] = percentile(late, 99)

    async def beside() -> int:
        work = asyncio.ensure_future(ours.store.cleanup_expired_sessions())
        await live("beside", work)
        return await work

    runner.run(live("alone", None))
    assert runner.run(beside()) == expired
    runner.run(ours.manager.aclose())
    name = f"p99 of turns at {RATE}/s on PostgreSQL: beside a cleanup of {EXPIRED:,} sessions / without"
    return Figure(name, Limit("≤", 2), Costs("beside", "ns", [p99["beside"]]), Costs("alone", "ns", [p99["alone"]]))
