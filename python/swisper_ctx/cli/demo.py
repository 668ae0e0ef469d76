"""The demo: replay, kill, recover, go on, and what each turn cost."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from pathlib import Path
from statistics import median

from swisper_ctx.cli.charts import buckets, chart, crossover, table
from swisper_ctx.cli.conversations import SAMPLE, Conversation, Source
from swisper_ctx.cli.cost import Comparison, chats_of, compare_costs
from swisper_ctx.cli.crash import Crash, WriterError, write_until_killed
from swisper_ctx.cli.recovery import Completion, Recovery, complete, recover
from swisper_ctx.cli.replay import session_name, store_url
from swisper_ctx.cli.screen import Screen
from swisper_ctx.errors import ContextError

SHOWN = 10


def run_demo(source: Source, store: Path | None) -> bool:
    """Run the whole demo and show it; whether everything stored was as it should be."""
    screen, start = Screen(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="swisper-ctx-demo-", dir=store.parent if store else None) as directory:
        introduce(screen, source, store)
        try:
            problems = survive(screen, source, store_url(store or Path(directory) / "sessions.db"))
        except (WriterError, ContextError) as problem:
            problems = [f"{type(problem).__name__}: {problem}"]
        if not problems:
            weigh(screen, source, Path(directory))
    return conclude(screen, problems, time.perf_counter() - start)


def introduce(screen: Screen, source: Source, store: Path | None) -> None:
    """What will be replayed, and where it goes."""
    origin = "the sample in the package" if source.path == SAMPLE else source.path.name
    screen.step("swisper-ctx demo: real conversations, a crash in the middle, and what a turn costs")
    screen.say(
        f"{source.chained} conversations of {len(source.conversations)} users of an airline, chained for each user: "
        f"{source.messages:,} messages in {source.turns:,} turns"
    )
    screen.say(f"from tau-bench (MIT licence), {origin}")
    screen.say(f"store: {store or 'an SQLite file in a temporary directory'}")


def survive(screen: Screen, source: Source, url: str) -> list[str]:
    """Write, kill, recover, check, go on, check: everything that was not as it should be."""
    run, problems = secrets.token_hex(4), list[str]()
    names = {session_name(run, conversation.user_id): conversation for conversation in source.conversations}
    screen.step("1. A writer process replays all users at once; SIGKILL halfway")
    with screen.working("turns", source.turns) as advance:
        crash = write_until_killed(url, run, len(names), source.turns, advance)
    show_crash(screen, crash, names)
    screen.step("2. The file is opened again, and compared with the source conversations")
    recovery = asyncio.run(recover(url, names, crash.last, problems))
    show_recovery(screen, recovery, crash, problems)
    if not problems:
        screen.step("3. The replay goes on from where each session stands")
        with screen.working("turns", source.turns - recovery.turns) as advance:
            rest = asyncio.run(complete(url, names, problems, advance))
        show_completion(screen, rest, source, problems)
    return problems


def show_completion(screen: Screen, rest: Completion, source: Source, problems: list[str]) -> None:
    """The rest of the replay, and whether all of it is there."""
    users = len(source.conversations)
    rate = rest.turns / rest.seconds
    screen.say(f"{rest.turns:,} turns more, {rate:,.0f} durable turns/s with {users} users at once")
    if not problems:
        screen.say(f"all {source.messages:,} messages, their search results and executions equal the source", "green")


def show_crash(screen: Screen, crash: Crash, names: dict[str, Conversation]) -> None:
    """What the writer did before it died."""
    rate = f"{len(crash.acks) / crash.seconds:,.0f} durable turns/s" if crash.seconds else "at once"
    screen.say(f"{len(crash.acks):,} turns acknowledged, {rate}; each acknowledgement was recorded by this process")
    if crash.killed:
        done = sum(ack.turn == len(names[name].turns) for name, ack in crash.last.items())
        screen.say(f"killed: {done} conversations were complete, {len(names) - done} were not")
    else:
        screen.say("the writer had finished before the signal reached it: this run shows no crash", "yellow")


def show_recovery(screen: Screen, recovery: Recovery, crash: Crash, problems: list[str]) -> None:
    """How long it took to have everything back, and whether it was all there."""
    loads = [seconds * 1000 for seconds in recovery.loads]
    screen.say(
        f"recovered in {recovery.seconds * 1000:.0f} ms: {recovery.sessions} sessions, {recovery.messages:,} messages "
        f"(a session: median {median(loads):.2f} ms, slowest {max(loads):.2f} ms)"
    )
    if not problems:
        early = recovery.turns - len(crash.acks)
        screen.say(f"all {len(crash.acks):,} acknowledged turns are there, and equal to the source", "green")
        screen.say(f"turns that the signal caught between commit and acknowledgement, found durable: {early}")


def weigh(screen: Screen, source: Source, directory: Path) -> None:
    """What each turn writes, one after the other, beside rewriting the conversation as a document."""
    chats = chats_of(source.conversations)
    screen.step("4. What a turn costs, beside rewriting the conversation as a document")
    screen.say(f"very short chats: the first turns of {len(chats) - 1} users, without the 6 kB system prompt")
    screen.say(f"and one long one: all {len(chats[-1].messages)} messages of one user, turn by turn")
    with screen.working("turns, half of them as documents", 2 * sum(len(chat.turns) for chat in chats)) as advance:
        costs = asyncio.run(compare_costs(directory, chats, advance))
    show_costs(screen, costs)


def show_costs(screen: Screen, costs: Comparison) -> None:
    """The table and the chart."""
    rows = buckets(costs.ours, costs.document)
    screen.say(f"kB        {costs.counts};")
    screen.say("          a first turn includes the creation of its session")
    screen.say("ms        median of the save, durable at its end; encoding the document is not counted")
    screen.say("swisper   this package, one save per turn")
    screen.say("document  the whole context as JSON in one row of an SQLite table, WAL, synchronous=FULL")
    screen.console.print(table(rows, screen.ascii_only))
    screen.step("Bytes written per turn, by length of the conversation in messages")
    for line in chart(rows, screen.console.width, screen.ascii_only):
        screen.console.print(line)
    screen.console.print()
    ours, document = (sum(cost.written for cost in each) / 1e6 for each in (costs.ours, costs.document))
    screen.say(f"In all: {ours:.1f} MB by swisper, {document:.1f} MB as documents.")
    for sentence in crossover(rows):
        screen.say(sentence)


def conclude(screen: Screen, problems: list[str], seconds: float) -> bool:
    """The verdict."""
    if not problems:
        screen.step(f"No acknowledged turn was lost, nothing differs. ({seconds:.1f} s)")
        return True
    screen.step(f"FAILED, {len(problems)} problem{'s' if problems[1:] else ''}:")
    for problem in problems[:SHOWN]:
        screen.say(problem, "red")
    if len(problems) > SHOWN:
        screen.say(f"and {len(problems) - SHOWN} more")
    return False
