"""The generic encoders and decoders that ours are measured against, and what they are given."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import orjson
import ssrjson
from benches.conversation import METADATA, texts

import swisper_ctx

OURS = "ours"
MESSAGES = 1_000
NUMBERS = 5_000
CITM = Path(__file__).parents[2] / "tests" / "data" / "citm_catalog.json.gz"

Encode = Callable[[Any], bytes]
ENCODERS: dict[str, Encode] = {
    "orjson": orjson.dumps,
    "msgspec": msgspec.json.Encoder().encode,
    "ssrjson": ssrjson.dumps_to_bytes,
    OURS: swisper_ctx.dumps,
}
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "orjson": orjson.loads,
    "msgspec": msgspec.json.Decoder().decode,
    "ssrjson": ssrjson.loads,
    OURS: swisper_ctx.loads,
}


@dataclass
class PlainMessage:
    message_id: str
    role: str
    content: str
    timestamp: str
    metadata: dict[str, Any]


@dataclass(slots=True)
class SlottedMessage:
    message_id: str
    role: str
    content: str
    timestamp: str
    metadata: dict[str, Any]


def message(number: int) -> dict[str, Any]:
    return {
        "message_id": f"0198f1f2-5c1e-7d64-9f5e-{number:012x}",
        "role": "user" if number % 2 else "assistant",
        "content": texts()[number],
        "timestamp": f"2026-11-22T09:30:15.{number:06}Z",
        "metadata": dict(METADATA),
    }


def messages() -> list[dict[str, Any]]:
    return [message(number) for number in range(MESSAGES)]


def non_ascii(replaced: str) -> list[dict[str, Any]]:
    """With a character in each text that ASCII does not have."""
    return [{**each, "content": each["content"].replace("a", replaced)} for each in messages()]


def integers() -> list[int]:
    random = Random(5)
    return [random.randrange(-(10 ** random.randrange(1, 16)), 10 ** random.randrange(1, 16)) for _ in range(NUMBERS)]


def floats() -> list[float]:
    random = Random(6)
    return [random.uniform(-1000, 1000) * 10.0 ** random.randrange(-5, 5) for _ in range(NUMBERS)]


def citm() -> Any:
    return json.loads(gzip.decompress(CITM.read_bytes()))
