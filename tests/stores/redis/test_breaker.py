from __future__ import annotations

from swisper_ctx.stores.redis.breaker import LONGEST_PAUSE, Breaker


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_failure_opens_it_and_one_probe_closes_it() -> None:
    time = Time()
    breaker = Breaker(1.0, time)
    assert breaker.open(), "news"
    assert not breaker.open(), "no news"
    assert not breaker.is_closed
    assert not breaker.is_due()
    time.now += 1
    assert breaker.is_due()
    assert not breaker.is_due(), "one probe at a time"
    time.now += 0.5
    assert breaker.close() == 1.5
    assert not breaker.is_due()


def test_who_fails_again_soon_waits_longer_and_who_lasts_does_not() -> None:
    time = Time()
    breaker = Breaker(1.0, time)
    pauses = []
    for _ in range(9):
        breaker.open()
        begun = time.now
        while not breaker.is_due():
            time.now += 0.5
        pauses.append(time.now - begun)
        breaker.close()
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    time.now += 10 * LONGEST_PAUSE
    breaker.open()
    time.now += 1
    assert breaker.is_due()
