"""How long a session is kept: `data_retention_policy`, turned into the time at which it expires.

    "session"       `expires_in` of the manager after the last save that wrote something; for ever where that is None
    "none"          not beyond the conversation: 15 minutes after the last such save, or `expires_in` if that is less
    "<n>h|d|w"      so many hours, days or weeks after its creation, whatever is saved in the meantime
    "<...>:idle"    so long after the last save that wrote something
    "indefinite"    for ever

What counts from the last save ends up to a 24th of its length earlier: a save that would move it by less leaves it, so
that not each turn writes it and its index. It never ends later.

15 minutes is the idle timeout that OWASP's Session Management Cheat Sheet names for applications of low risk.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from swisper_ctx.errors import PrivacyError
from swisper_ctx.log import NEVER

POLICY = "data_retention_policy"
SHORTEST = 900_000_000
LONGEST = 100 * 366 * 86_400_000_000
UNITS = {"h": 3_600_000_000, "d": 86_400_000_000, "w": 7 * 86_400_000_000}
PERIOD = re.compile(r"([1-9][0-9]{0,8})([hdw])(:idle)?", re.ASCII)


class Retention(NamedTuple):
    """A policy as numbers, in microseconds; without a `ttl` that of the manager counts."""

    ttl: int | None
    at_most: int | None = None
    from_creation: bool = False

    def lifetime(self, default: int | None) -> int | None:
        """How long a session lives, NEVER for one without an end; None if nothing says."""
        given = default if self.ttl is None else self.ttl
        return min((ttl for ttl in (given, self.at_most) if ttl is not None), default=None)


NAMED = {"session": Retention(None), "none": Retention(None, SHORTEST), "indefinite": Retention(NEVER)}


@lru_cache(maxsize=256)
def _parsed(policy: str) -> Retention:
    if (named := NAMED.get(policy)) is not None:
        return named
    found = PERIOD.fullmatch(policy)
    ttl = int(found[1]) * UNITS[found[2]] if found else 0
    if found is None or ttl > LONGEST:
        raise PrivacyError(
            f'{POLICY} must be "session", "none", "indefinite", or a period of at most 100 years: "12h", "30d", "4w", '
            'which counts from the creation of the session, or as "30d:idle" from its last save'
        )
    return Retention(ttl, from_creation=found[3] is None)


def retention(policy: object) -> Retention:
    """What a policy means. Raises PrivacyError for one that means nothing."""
    return _parsed(policy if isinstance(policy, str) else "")


@lru_cache(maxsize=256)
def rule(policy: str, default: int | None) -> tuple[int, bool] | None:
    """How long a session lives, and whether that counts from its creation; None if nothing says.

    `default` is the manager's, NEVER where that keeps for ever. A policy that a newer version of this library has
    stored says nothing.
    """
    try:
        kept = _parsed(policy)
    except PrivacyError:
        return None
    ttl = kept.lifetime(default)
    return None if ttl is None else (ttl, kept.from_creation)
