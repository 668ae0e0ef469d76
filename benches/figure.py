"""What a measurement has shown, and what is required of it."""

from __future__ import annotations

from statistics import median
from typing import Any, NamedTuple


class Limit(NamedTuple):
    """What is required: `sign` is ≥ or ≤."""

    sign: str
    value: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}{self.unit}"


class Costs(NamedTuple):
    """What one operation cost, measured several times: nanoseconds or bytes."""

    name: str
    unit: str
    samples: list[float]

    @property
    def least(self) -> float:
        return min(self.samples)

    @property
    def middle(self) -> float:
        return median(self.samples)

    def __str__(self) -> str:
        rate = f" = {1e9 / self.middle:,.0f}/s" if self.unit == "ns" and self.middle > 1e4 else ""
        return f"{self.name}: {self.least:,.0f} (min), {self.middle:,.0f} (median) {self.unit}{rate}"


class Figure(NamedTuple):
    """The costs of one thing divided by those of another, measured in turns with it; without another, µs or kB."""

    name: str
    limit: Limit | None
    over: Costs
    under: Costs | None = None

    @property
    def least(self) -> float:
        """The ratio of the minima."""
        return self.over.least / (self.under.least if self.under else 1000)

    @property
    def middle(self) -> float:
        """The median of the ratios of neighbours, which the noise of the machine disturbs alike."""
        if self.under is None:
            return self.over.middle / 1000
        return median(over / under for over, under in zip(self.over.samples, self.under.samples, strict=True))

    @property
    def is_met(self) -> bool:
        """By the median."""
        if self.limit is None:
            return True
        return self.middle >= self.limit.value if self.limit.sign == "≥" else self.middle <= self.limit.value

    @property
    def required(self) -> str:
        return "" if self.limit is None else str(self.limit)

    @property
    def measured(self) -> str:
        unit = "" if self.under is not None else " µs" if self.over.unit == "ns" else " kB"
        return f"{self.least:.2f}, {self.middle:.2f}{unit}"

    def as_json(self) -> dict[str, Any]:
        sides = [side for side in (self.over, self.under) if side is not None]
        return {
            "name": self.name,
            "required": self.required,
            "met": self.is_met,
            "min": self.least,
            "median": self.middle,
            "costs": [{**side._asdict(), "min": side.least, "median": side.middle} for side in sides],
        }
