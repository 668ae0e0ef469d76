from __future__ import annotations

import pytest

from swisper_ctx import MemorySessionStore, SwisperContext, deserialize_context, serialize_context
from swisper_ctx._core import moved_expiry
from swisper_ctx.errors import PrivacyError
from swisper_ctx.log import NEVER
from swisper_ctx.retention import SHORTEST, retention, rule

HOUR = 3_600_000_000
DAY = 24 * HOUR
WRONG = ["", "session ", "Session", "d", "0d", "30", "30m", "-1d", "1.5d", "30d:", "30d:busy", "101w:idle:idle", "٣d"]


def moved(policy: str, before: str, times: tuple[int, int], current: int | None, default: int | None) -> int | None:
    return moved_expiry(rule(policy, default), policy != before, times, current)


@pytest.mark.parametrize("policy", [*WRONG, "36601d", "999999999w", None, 30, ["session"]])
def test_a_wrong_policy_is_refused_where_it_is_assigned(policy: object) -> None:
    context = SwisperContext(data_retention_policy="30d")
    with pytest.raises(PrivacyError, match="data_retention_policy must be"):
        context.data_retention_policy = policy  # type: ignore[assignment]
    assert context.data_retention_policy == "30d"
    with pytest.raises(PrivacyError):
        SwisperContext(data_retention_policy=policy)  # type: ignore[arg-type]
    with pytest.raises(PrivacyError):
        deserialize_context(serialize_context(context) | {"data_retention_policy": policy})


def test_a_class_with_a_wrong_policy_is_refused() -> None:
    with pytest.raises(PrivacyError):
        type("Wrong", (SwisperContext,), {"data_retention_policy": "always"})
    right = type("Right", (SwisperContext,), {"data_retention_policy": "4w:idle"})
    assert right().data_retention_policy == "4w:idle"


@pytest.mark.parametrize(
    ("policy", "lifetime", "from_creation"),
    [
        ("session", DAY, False),
        ("none", SHORTEST, False),
        ("12h", 12 * HOUR, True),
        ("30d", 30 * DAY, True),
        ("2w:idle", 14 * DAY, False),
        ("indefinite", NEVER, False),
    ],
)
def test_what_a_policy_means(policy: str, lifetime: int, from_creation: bool) -> None:
    kept = retention(policy)
    assert (kept.lifetime(DAY), kept.from_creation) == (lifetime, from_creation)


def test_none_lives_no_longer_than_any_other_session() -> None:
    assert retention("none").lifetime(5) == 5
    assert retention("none").lifetime(None) == SHORTEST


def test_without_a_time_to_live_the_policy_session_says_nothing() -> None:
    assert retention("session").lifetime(None) is None
    assert moved("session", "session", (0, 9), 7, None) is None


@pytest.mark.parametrize(("current", "expected"), [(7, NEVER), (None, None)])
def test_a_time_to_live_without_end_takes_an_end_away_and_else_moves_nothing(
    current: int | None, expected: int | None
) -> None:
    assert moved("session", "session", (0, 9), current, NEVER) == expected
    assert moved("session", "1h:idle", (0, 9), current, NEVER) == expected
    assert moved("none", "none", (0, 9), None, NEVER) == 9 + SHORTEST


@pytest.mark.parametrize(("now", "current", "expected"), [(0, 24, None), (1, 24, None), (2, 24, 26), (0, None, 24)])
def test_it_moves_when_that_gains_more_than_a_24th(now: int, current: int | None, expected: int | None) -> None:
    assert moved("session", "session", (0, now), current, 24) == expected


def test_a_shorter_time_to_live_is_taken_over_unless_it_is_almost_the_same() -> None:
    assert moved("session", "session", (0, 0), 25, 24) is None
    assert moved("session", "session", (0, 0), 26, 24) == 24


def test_another_policy_counts_to_the_microsecond() -> None:
    assert moved("24h", "session", (0, 1), DAY + 1, DAY) == DAY
    assert moved("24h", "session", (0, 1), DAY, DAY) is None
    assert moved("indefinite", "session", (0, 1), DAY, DAY) == NEVER
    assert moved("indefinite", "session", (0, 1), None, DAY) is None


@pytest.mark.parametrize("policy", ["9y", ""])
def test_a_policy_of_another_version_moves_nothing(policy: str) -> None:
    assert moved(policy, policy, (0, 9), 7, DAY) is None


async def test_a_policy_that_is_no_text_moves_nothing() -> None:
    store = MemorySessionStore()
    context = SwisperContext(session_id="s")
    await store.save_session(context, ttl=DAY)
    kept = context._position.expires_at
    context.__dict__["data_retention_policy"] = 7
    await store.save_session(context, ttl=2 * DAY)
    assert context.version == 2
    assert context._position.expires_at == kept
