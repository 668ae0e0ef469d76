"""Search results of the airline conversations: each flight found becomes a product."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from swisper_ctx.cli.conversations import JsonObject, Turn, messages_of

if TYPE_CHECKING:
    from collections.abc import Iterable

SEARCHES = frozenset({"search_direct_flight", "search_onestop_flight"})


def products_of(turns: Iterable[Turn]) -> list[JsonObject]:
    """What the flight searches of these turns found, as the keyword arguments of `Product`."""
    found: list[JsonObject] = []
    for message in messages_of(turns):
        if message["role"] == "tool" and message["name"] in SEARCHES:
            found.extend(product(trip if isinstance(trip, list) else [trip]) for trip in json.loads(message["content"]))
    return found


def product(legs: list[JsonObject]) -> JsonObject:
    """One direct or connecting flight, at the price of its cheapest cabin."""
    return {
        "product_id": "+".join(leg["flight_number"] for leg in legs),
        "name": " - ".join([legs[0]["origin"], *(leg["destination"] for leg in legs)]),
        "price": min(sum(leg["prices"][cabin] for leg in legs) for cabin in legs[0]["prices"]),
        "currency": "USD",
        "attributes": {"legs": legs},
    }
