"""JSON values to try, and what it means that two are the same."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from hypothesis import strategies as st

from swisper_ctx import Message, PIIEntity, PipelineExecution, Product

RecordClass: TypeAlias = type[Message] | type[Product] | type[PipelineExecution] | type[PIIEntity]
CLASSES: tuple[RecordClass, ...] = (Message, Product, PipelineExecution, PIIEntity)
MAX_DEPTH = 128
MAX_SIZE = 16 * 1024 * 1024

integers = (
    st.integers(-3, 3)
    | st.integers()
    | st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**40, -(10**4000)])
)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 1e16, 1e22, 1e-5, 5e-324, 2.0**53])
keys = st.text(max_size=8) | st.sampled_from(["", "/", "~", "~1", "-", "0", "01", "a", "b", "\0", '"', "\\"])
scalars = st.none() | st.booleans() | integers | floats | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=15,
)
objects = st.dictionaries(keys, values, max_size=6)


def identical(a: object, b: object, *, ordered: bool = True) -> bool:
    """Whether two values are the same by value and type; `ordered` also asks for the same order of keys."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        same_keys = list(a) == list(b) if ordered else a.keys() == b.keys()
        return same_keys and all(identical(a[key], b[key], ordered=ordered) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(identical(x, y, ordered=ordered) for x, y in zip(a, b, strict=True))
    # The texts of floats tell -0.0 from 0.0.
    return repr(a) == repr(b) if isinstance(a, float) else a == b


def nested(depth: int, value: Any = 0) -> Any:
    """A value in so many lists within one another."""
    for _ in range(depth):
        value = [value]
    return value


def compact(value: object, *, ascii_only: bool = False) -> bytes:
    """JSON text without white space, as the standard library writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode()


def strict_loads(data: bytes) -> Any:
    """What RFC 8259 and the limits of this package make of a text; a ValueError for anything else."""

    def refuse(text: str) -> None:
        raise ValueError(text)

    value = json.loads(data.decode(), parse_constant=refuse)
    _check(value, 1)
    return value


def _check(value: object, depth: int) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise ValueError("too large")
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise ValueError("too deep")
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(part, depth + 1)
