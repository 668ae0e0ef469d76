"""`LRUCache` beside an OrderedDict, and with keys, values and weights whose code comes back to the cache."""

from __future__ import annotations

import gc
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, get_origin

import pytest
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import swisper_ctx
from swisper_ctx import LRUCache, SwisperContext

keys = st.one_of(
    st.integers(-2, 12),
    st.sampled_from("abcdefgh"),
    st.sampled_from([b"a", b"b", 1.0, True, (1, "a"), (2, (3,)), None]),
)
sizes = st.integers(0, 9)
MISSING = object()


class AgainstAnOrderedDict(RuleBasedStateMachine):
    """The least recently used first; sizes are those of the values, where they are weighed."""

    @initialize(
        max_bytes=st.none() | st.integers(5, 60),
        max_entries=st.none() | st.integers(1, 12),
        weigh=st.none() | st.just(len),
    )
    def make(self, max_bytes: int | None, max_entries: int | None, weigh: Callable[[bytes], int] | None) -> None:
        self.cache: LRUCache[Any, bytes] = LRUCache(max_bytes=max_bytes, max_entries=max_entries, weigh=weigh)
        self.is_weighed = max_bytes is not None or weigh is not None
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self.model: OrderedDict[Any, bytes] = OrderedDict()
        self.hits = self.misses = self.evictions = 0

    def lookup(self, key: Any) -> Any:
        if key in self.model:
            self.hits += 1
            self.model.move_to_end(key)
            return self.model[key]
        self.misses += 1
        return MISSING

    def store(self, key: Any, value: bytes) -> None:
        self.model[key] = value
        self.model.move_to_end(key)
        while len(self.model) > (self.max_entries or 10**9) or self.bytes > (self.max_bytes or 10**9):
            self.model.popitem(last=False)
            self.evictions += 1
            event("evicted")

    @property
    def bytes(self) -> int:
        return sum(map(len, self.model.values())) if self.is_weighed else 0

    @rule(key=keys, size=sizes, how=st.sampled_from(["setitem", "put", "update"]))
    def set(self, key: Any, size: int, how: str) -> None:
        value = bytes(size)
        if size > (self.max_bytes or 10**9):
            with pytest.raises(ValueError, match="too large"):
                self.cache[key] = value
            return
        if how == "setitem":
            self.cache[key] = value
        elif how == "put":
            self.cache.put(key, value)
        else:
            self.cache.update({key: value})
        self.store(key, value)

    @rule(key=keys)
    def get(self, key: Any) -> None:
        expected = self.lookup(key)
        event("hit" if expected is not MISSING else "miss")
        assert self.cache.get(key, MISSING) is expected or expected == self.cache.peek(key)

    @rule(key=keys)
    def getitem(self, key: Any) -> None:
        expected = self.lookup(key)
        if expected is MISSING:
            with pytest.raises(KeyError):
                self.cache[key]
        else:
            assert self.cache[key] is expected

    @rule(key=keys)
    def peek(self, key: Any) -> None:
        assert self.cache.peek(key, MISSING) is self.model.get(key, MISSING)
        assert (key in self.cache) == (key in self.model)

    @rule(key=keys)
    def delete(self, key: Any) -> None:
        if self.model.pop(key, MISSING) is MISSING:
            with pytest.raises(KeyError):
                del self.cache[key]
        else:
            del self.cache[key]

    @rule(key=keys, default=st.booleans())
    def pop(self, key: Any, default: bool) -> None:
        expected = self.model.pop(key, MISSING)
        if expected is MISSING and not default:
            with pytest.raises(KeyError):
                self.cache.pop(key)
        else:
            assert self.cache.pop(key, MISSING) is expected

    @rule()
    def popitem(self) -> None:
        if self.model:
            assert self.cache.popitem() == self.model.popitem(last=False)
        else:
            with pytest.raises(KeyError):
                self.cache.popitem()

    @rule(key=keys, size=st.integers(0, 5))
    def setdefault(self, key: Any, size: int) -> None:
        value = bytes(size)
        expected = self.lookup(key)
        if expected is MISSING:
            self.store(key, value)
            expected = value
        assert self.cache.setdefault(key, value) == expected

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.model.clear()

    @invariant()
    def agrees(self) -> None:
        assert list(self.cache) == list(self.model)
        assert [*map(type, self.cache)] == [*map(type, self.model)]
        assert len(self.cache) == len(self.model)
        assert self.cache.current_bytes == self.bytes
        assert (self.cache.hits, self.cache.misses, self.cache.evictions) == (self.hits, self.misses, self.evictions)
        assert list(self.cache.items()) == list(self.model.items())
        assert list(self.cache.values()) == list(self.model.values())
        assert self.cache.keys() == self.model.keys()
        assert self.cache == dict(self.model)


def test_does_what_an_ordered_dict_does() -> None:
    run_state_machine_as_test(AgainstAnOrderedDict)


def test_is_a_mapping() -> None:
    cache: LRUCache[str, bytes] = LRUCache(max_entries=2)
    assert isinstance(cache, MutableMapping)
    assert (cache.max_bytes, cache.max_entries, cache.ttl) == (None, 2, None)
    assert get_origin(LRUCache[str, bytes]) is LRUCache
    assert cache != 1
    assert repr(cache) == "<LRUCache of 0 entries, 0 bytes>"
    with pytest.raises(TypeError, match="unhashable"):
        hash(cache)
    with pytest.raises(TypeError, match="unhashable"):
        cache[[]]  # type: ignore[index]


def test_values_of_bytes_are_weighed_by_themselves() -> None:
    cache: LRUCache[str, Any] = LRUCache(max_bytes=1_000_000)
    for value, size in [(b"abc", 3), (bytearray(4), 4), ("zürich", 7), (memoryview(bytes(16)).cast("i"), 16)]:
        cache["key"] = value
        assert cache.current_bytes == size
    context = SwisperContext(product_query="fridge")
    context._freeze()
    snapshot = context._position.snapshot
    cache["key"] = snapshot
    names = sum(len(f'"{name}":,') for name in snapshot.names) - 1
    assert cache.current_bytes == snapshot.size == len(snapshot.to_json()) - names - 2
    with pytest.raises(TypeError, match="weigh="):
        cache["key"] = {}


@pytest.mark.parametrize("ttl", [0, -1.0, float("nan"), float("inf")])
def test_a_time_to_live_is_a_number_of_seconds(ttl: float) -> None:
    with pytest.raises(ValueError, match="time to live"):
        LRUCache(ttl=ttl)
    with pytest.raises(ValueError, match="time to live"):
        LRUCache[str, int]().put("key", 1, ttl=ttl)


def test_entries_live_as_long_as_they_may() -> None:
    cache: LRUCache[str, bytes] = LRUCache(max_bytes=100, ttl=3600)
    cache["long"] = b"1"
    cache.put("short", b"22", ttl=0.05)
    assert cache.get("short") == b"22"
    deadline = time.monotonic() + 30
    while "short" in cache and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(cache) == ["long"]
    assert (cache.current_bytes, len(cache), cache.evictions) == (1, 1, 0)
    assert cache.get("short") is None


def test_an_entry_without_a_time_of_its_own_outlives_those_before_it() -> None:
    cache: LRUCache[str, int] = LRUCache(max_entries=1)
    cache.put("short", 1, ttl=0.05)
    cache["long"] = 2  # in the place of the other
    cache.put("long", 3, ttl=0.05)
    cache["long"] = 4
    time.sleep(0.1)
    assert dict(cache.items()) == {"long": 4}
    cache.put("short", 1, ttl=0.05)
    time.sleep(0.1)
    cache["new"] = 5
    assert (dict(cache.items()), cache.evictions) == ({"new": 5}, 2)


def test_a_cache_for_no_entries_takes_none() -> None:
    cache: LRUCache[str, int] = LRUCache(max_entries=0)
    with pytest.raises(ValueError, match="too large"):
        cache["key"] = 1
    assert len(cache) == 0


@pytest.mark.parametrize("weight", [-1, "3", 2**64, None, 1.5])
def test_a_weight_is_a_natural_number(weight: Any) -> None:
    cache: LRUCache[str, int] = LRUCache(weigh=lambda _: weight)
    with pytest.raises(ValueError, match="weigh="):
        cache["key"] = 1
    assert (len(cache), cache.current_bytes) == (0, 0)


def test_a_failing_weigh_changes_nothing() -> None:
    def weigh(value: int) -> int:
        if value < 0:
            raise OSError("no")
        cache.clear()
        return value

    cache: LRUCache[str, int] = LRUCache(max_bytes=10, weigh=weigh)
    cache["key"] = 4
    with pytest.raises(OSError, match="no"):
        cache["key"] = -1
    assert (cache["key"], cache.current_bytes) == (4, 4)
    cache["other"] = 5  # weighing it has cleared the cache
    assert dict(cache.items()) == {"other": 5}
    with pytest.raises(TypeError, match="a function from a value"):
        LRUCache(weigh=3)  # type: ignore[arg-type]


class Key:
    """A key that does something whenever it is compared. All have one hash."""

    def __init__(self, name: str, action: Callable[[], Any] = lambda: None) -> None:
        self.name, self.action = name, action

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        self.action()
        return isinstance(other, Key) and self.name == other.name


def test_keys_of_one_hash_are_told_apart_by_equality() -> None:
    cache: LRUCache[Key, int] = LRUCache(max_entries=50)
    for number in range(50):
        cache[Key(str(number))] = number
    assert [cache[Key(str(number))] for number in range(50)] == list(range(50))
    cache[Key("3")] = -3
    assert (len(cache), cache[Key("3")], Key("none") in cache) == (50, -3, False)


def test_a_key_that_fails_to_compare_changes_nothing() -> None:
    cache: LRUCache[Key, int] = LRUCache()
    one = Key("one")
    cache[one] = 1

    def fail() -> None:
        raise OSError("no")

    one.action = fail
    for use in (cache.get, cache.peek, cache.pop, cache.__getitem__, cache.__delitem__, cache.__contains__):
        with pytest.raises(OSError, match="no"):
            use(Key("one"))
    with pytest.raises(OSError, match="no"):
        cache[Key("one")] = 2
    one.action = lambda: None
    assert list(cache.values()) == [1]


@pytest.mark.parametrize(
    "use",
    [
        lambda cache: cache.get(Key("new")),
        lambda cache: cache.put(Key("new"), 1),
        lambda cache: cache.pop(Key("new"), None),
        lambda cache: Key("new") in cache,
        lambda cache: cache.setdefault(Key("new"), 3),
    ],
)
@pytest.mark.parametrize("act", ["clear", "popitem", "insert", "delete"])
def test_a_key_may_change_the_cache_while_it_is_compared(use: Callable[[Any], Any], act: str) -> None:
    cache: LRUCache[Any, int] = LRUCache(max_bytes=5, weigh=lambda _: 1)
    left = [3]

    def change() -> None:
        if not left[0]:
            return
        left[0] -= 1
        match act:
            case "clear":
                cache.clear()
            case "popitem" if len(cache):
                cache.popitem()
            case "insert":
                cache[left[0]] = 0
            case "delete":
                cache.pop(victim, None)

    victim = "victim"
    cache[victim] = 0
    for name in ("a", "b", "c"):
        cache[Key(name, change)] = 0
    use(cache)
    names = [key.name if isinstance(key, Key) else key for key in cache]
    assert len(set(names)) == len(names) == len(cache) == cache.current_bytes <= 5


def test_a_key_that_never_stops_changing_it_is_given_up() -> None:
    cache: LRUCache[Any, int] = LRUCache(max_entries=3)
    number = 0

    def change() -> None:
        nonlocal number
        number += 1
        cache[number] = 0
        cache[a] = 0

    a = Key("a")
    cache[a] = 0
    a.action = change
    with pytest.raises(RuntimeError, match="again and again"):
        cache.get(Key("b"))
    assert len(cache) == 3


class Value:
    """Does something when nobody holds it any more."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action = action

    def __del__(self) -> None:
        self.action()


@pytest.mark.parametrize(
    "cache", [LRUCache[str, Any](max_bytes=3, weigh=lambda _: 1), LRUCache[str, Any](max_entries=3)]
)
def test_values_are_let_go_when_the_cache_is_whole(cache: LRUCache[str, Any]) -> None:
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((len(cache), cache.current_bytes))
        key = f"key {len(seen)}"
        cache[key] = None
        cache.pop(key, None)

    for name in "abcde":
        cache[name] = Value(look)
    cache["e"] = Value(look)
    cache["f"] = Value(look)
    cache.pop("f", None)
    cache["g"] = Value(look)
    cache.clear()
    assert all(length <= 3 and total == (length if cache.max_bytes else 0) for length, total in seen)
    assert len(seen) == 8
    assert (len(cache), cache.current_bytes) == (0, 0)


def test_it_is_collected_with_what_refers_to_it() -> None:
    cache: LRUCache[str, Any] = LRUCache(weigh=len)
    cache["self"] = cache
    gone = weakref.ref(cache)
    del cache
    gc.collect()
    assert gone() is None


def test_get_takes_a_key_and_a_default() -> None:
    cache: LRUCache[str, int] = LRUCache()
    cache["a"] = 1
    assert (cache.get("a"), cache.get("b"), cache.get("a", 2), cache.get("b", 2)) == (1, None, 1, 2)
    for arguments in [(), ("a", 1, 2)]:
        with pytest.raises(TypeError):
            cache.get(*arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        LRUCache.get({}, "a")


def test_keys_are_those_of_a_dict() -> None:
    cache: LRUCache[Any, int] = LRUCache()
    nan = float("nan")
    cache[nan] = 1
    assert cache[nan] == 1
    assert cache.get(float("nan")) is None
    cache[1] = 1
    cache[True] = 2
    cache[1.0] = 3
    assert [(key, value) for key, value in cache.items() if key == 1] == [(1, 3)]
    cache["ab"] = 4
    assert cache[str(b"ab", "ascii")] == 4


def test_the_package_exports_it() -> None:
    assert swisper_ctx.LRUCache is LRUCache
