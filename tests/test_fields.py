"""What a context class may declare, and what becomes of its fields when others load them."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from typing import Any, ClassVar, Final, Literal, NewType, Optional, TypedDict, Union

import pytest
from pydantic import TypeAdapter
from tests.replay import Follower
from tests.values import identical

from swisper_ctx import MemorySessionStore, Message, Product, RecordList, SwisperContext, field, serialize_context
from swisper_ctx.context import METADATA
from swisper_ctx.errors import DecodeError, EncodeError

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
EVENING = datetime(2024, 2, 29, 18, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))


class Line(TypedDict):
    product_id: str
    count: int


class Shop(SwisperContext):
    """Has a field of each kind."""

    cart: list[str] = field(default_factory=lambda: ["bag"])
    limit: float | None = 100.0
    lines: list[Line] = field(default_factory=list)
    mode: Literal["guest", "member"] = "guest"
    opened_at: datetime = NOON
    paid_at: datetime | None = None
    wishes: RecordList[Product] = field(default_factory=lambda: RecordList(Product))
    anything: Any = None
    shops: ClassVar[int] = 0


class Renamed(Shop):
    """Inherits fields, changes the default of one, adds another."""

    mode: Literal["guest", "member"] = "member"
    current_state: str = "entering"
    notes: dict[str, int] = field(default_factory=dict)


class Colour(Enum):
    RED = "red"


def declare(hint: Any, default: Any = None) -> type[SwisperContext]:
    """A context class with one field of this type."""
    body = {"__annotations__": {"it": hint}, "__module__": __name__}
    return type("Declared", (SwisperContext,), body if default is ... else {**body, "it": default})


async def loaded(context: SwisperContext, context_class: type[Any]) -> Any:
    """The context as another process with that class sees it."""
    store = MemorySessionStore()
    await store.save_session(context)
    return await store.load_session(context.session_id, context_class=context_class)


# -- declarations


@pytest.mark.parametrize(
    "hint",
    [
        str,
        int | None,
        Optional[float],  # noqa: UP045 - is a type of its own
        Union[str, int, None],  # noqa: UP007 - is a type of its own
        bool,
        None,
        list,
        dict,
        typing.List,  # noqa: UP006 - is a type of its own
        typing.Dict,  # noqa: UP006 - is a type of its own
        list[dict[str, list[int | None]]],
        dict[str, Any],
        Literal["a", 1, True],
        Line,
        list[Line],
        Any,
        datetime,
        datetime | None,
        Final[int],
    ],
)
async def test_json_types_and_times_may_be_declared(hint: Any) -> None:
    context_class = declare(hint)
    context: Any = context_class()
    assert context.it is None
    found = await loaded(context, context_class)
    assert found.it is None


@pytest.mark.parametrize(
    "hint",
    [
        bytes,
        tuple,
        tuple[str, ...],
        set[str],
        frozenset[int],
        list[set[str]],
        dict[int, str],
        dict[str, bytes],
        str | bytes,
        complex,
        object,
        date,
        Colour,
        Literal[Colour.RED],
        NewType("Name", str),
        Callable[[], None],
        Message,
        RecordList,
        RecordList[int],  # type: ignore[type-var]
        RecordList[Message] | None,
        list[RecordList[Message]],
        list[datetime],
        dict[str, datetime],
        datetime | set[str],
        datetime | RecordList[Message],
    ],
)
def test_other_types_are_refused(hint: Any) -> None:
    with pytest.raises(TypeError):
        declare(hint)


@pytest.mark.parametrize("hint", [str | datetime, datetime | str | None, datetime | Any])
async def test_a_text_beside_a_time_is_refused_or_survives(hint: Any) -> None:
    try:
        context_class = declare(hint, "soon")
    except TypeError:
        return
    found = await loaded(context_class(), context_class)
    assert found.it == "soon"


@pytest.mark.parametrize("hint", [ClassVar, ClassVar[int], ClassVar[set[str]]])
def test_class_variables_are_no_fields(hint: Any) -> None:
    context_class: Any = declare(hint, 5)
    assert context_class.it == 5
    assert "it" not in serialize_context(context_class())
    with pytest.raises(AttributeError):
        context_class().it = 6


@pytest.mark.parametrize(
    ("default", "problem"),
    [(..., "needs a default"), ([], "default_factory=list"), ({}, "default_factory=dict")],
)
def test_defaults_are_needed_and_not_shared(default: Any, problem: str) -> None:
    for given in (default, field(default=default)) if default is not ... else (..., field()):
        with pytest.raises(TypeError, match=rf"Declared\.it.*{problem}"):
            declare(Any, given)


def test_the_problem_names_class_and_field() -> None:
    with pytest.raises(TypeError, match=r"Declared\.it: .*bytes"):
        declare(bytes)


@pytest.mark.parametrize("name", ["etag", "chat", "transition_to", "user_id", "version", "_position", "_fields", "_at"])
def test_names_that_a_context_has_for_something_else_are_refused(name: str) -> None:
    body = {"__annotations__": {name: str}, "__module__": __name__, name: "mine"}
    with pytest.raises(TypeError, match=rf"Own\.{name}: a context has something else"):
        type("Own", (SwisperContext,), body)


@pytest.mark.parametrize("name", METADATA)
def test_what_the_store_sets_has_no_other_default(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Own\.{name} is set by the store"):
        type("Own", (SwisperContext,), {name: "mine"})


@pytest.mark.parametrize("member", [property(lambda _: "p"), lambda _: "p", classmethod(lambda _: "p")])
def test_a_field_does_not_become_a_method(member: Any) -> None:
    for hints in ({}, {"current_state": str}):
        with pytest.raises(TypeError, match=r"Own\.current_state is a field"):
            type("Own", (SwisperContext,), {"__annotations__": hints, "current_state": member})


class Cached:
    @functools.cached_property
    def client(self) -> object:
        return object()


@pytest.mark.parametrize("bases", [(SwisperContext,), (Cached, SwisperContext)])
def test_what_would_be_saved_without_being_a_field_is_refused(bases: tuple[type[Any], ...]) -> None:
    body = {} if Cached in bases else {"client": vars(Cached)["client"]}
    with pytest.raises(TypeError, match=r"Own\.client: .*cached_property"):
        type("Own", bases, body)


def test_a_method_that_would_not_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Own\.__post_init__ would not be called"):
        type("Own", (SwisperContext,), {"__post_init__": lambda _: None})


class Told(SwisperContext):
    """Has what is set and not saved."""

    __slots__ = ("client",)

    @property
    def topic(self) -> str:
        return self.product_query

    @topic.setter
    def topic(self, topic: str) -> None:
        self.product_query = topic

    @property
    def size(self) -> int:
        return len(self.product_query)


async def test_properties_and_slots_are_set_and_only_what_they_set_is_saved() -> None:
    context: Any = Told(product_query="oven")
    context.topic, context.client = "fridge", object()
    assert (context.topic, context.product_query) == ("fridge", "fridge")
    for name in ("size", "etag", "chat", "anything"):
        with pytest.raises(AttributeError, match=name):
            setattr(context, name, 1)
    found = await loaded(context, Told)
    assert found.topic == "fridge"
    assert serialize_context(found).keys() == serialize_context(SwisperContext()).keys()
    assert not hasattr(found, "client")


@pytest.mark.parametrize(
    ("hint", "unknown"),
    [
        ("Absent", "Absent"),
        ("list[Absent] | None", "Absent"),
        (list["Absent"], "Absent"),  # type: ignore[name-defined]  # noqa: F821
        ("ClassVarious[str]", "ClassVarious"),
    ],
)
def test_a_type_that_is_not_known_at_run_time_is_named(hint: Any, unknown: str) -> None:
    with pytest.raises(TypeError, match=rf"Declared\.it: {unknown} is not known .* TYPE_CHECKING"):
        declare(hint)


@pytest.mark.parametrize("hint", ["ClassVar[Absent]", "typing.ClassVar[Absent | None]"])
def test_what_a_class_variable_holds_need_not_be_known(hint: str) -> None:
    context_class: Any = declare(hint, 5)
    assert context_class.it == 5
    assert "it" not in context_class._fields
    assert "it" not in TypeAdapter(context_class).json_schema()["properties"]


class Mixin:
    of_the_mixin: Absent | None = None  # type: ignore[name-defined]  # noqa: F821


def test_what_a_base_annotates_that_is_no_context_need_not_be_known() -> None:
    class Mixed(Mixin, SwisperContext):
        own: int = 1

    assert list(Mixed._fields)[-1] == "own"


# -- values


def test_defaults_are_made_anew() -> None:
    first, second = Shop(), Shop()
    first.cart.append("milk")
    assert (first.cart, second.cart, Shop().cart) == (["bag", "milk"], ["bag"], ["bag"])
    assert (first.limit, first.lines, first.mode, first.paid_at, first.anything) == (100.0, [], "guest", None, None)
    assert first.opened_at is NOON
    assert len(first.wishes) == 0


def test_records_to_begin_with_are_there_or_refused() -> None:
    try:

        class Greeting(SwisperContext):
            greetings: RecordList[Message] = field(default_factory=lambda: RecordList(Message, [Message("system")]))

        first, second = Greeting(), Greeting()
    except TypeError:
        return
    assert (len(first.greetings), len(second.greetings)) == (1, 1)
    first.greetings.clear()
    assert len(second.greetings) == 1


def test_subclasses_inherit_and_override() -> None:
    context = Renamed(cart=["bread"])
    assert (context.cart, context.mode, context.current_state, context.notes) == (["bread"], "member", "entering", {})
    assert list(Renamed._fields)[-1] == "notes"
    assert serialize_context(context)["current_state"] == "entering"
    assert (Shop().mode, Shop().current_state) == ("guest", "idle")
    with pytest.raises(AttributeError, match=r"Shop\.notes is not a field"):
        Shop().notes = {}  # type: ignore[attr-defined]


async def test_what_is_read_is_what_is_saved() -> None:
    class Bare(SwisperContext):
        current_state = "entering"

    context = Bare()
    shown = context.current_state
    assert (await loaded(context, SwisperContext)).current_state == shown


async def test_fields_of_all_bases_are_fields() -> None:
    class Left(SwisperContext):
        left: int = 0

    class Right(SwisperContext):
        right: int = 0

    class Both(Left, Right):
        pass

    context = Both(left=1, right=2)
    found = await loaded(context, Both)
    assert (found.left, found.right) == (1, 2)


async def test_times_come_back_as_times_in_utc() -> None:
    context = Shop(opened_at=EVENING, paid_at=NOON)
    found = await loaded(context, Shop)
    assert identical([found.opened_at, found.paid_at], [EVENING.astimezone(UTC), NOON])
    assert found.opened_at.tzinfo is UTC
    assert serialize_context(found)["opened_at"] == "2024-02-29T13:00:00.000001Z"
    assert found._freeze() is None
    found.paid_at = None
    assert found._freeze() is not None


@pytest.mark.parametrize(
    "wrong",
    [NOON.replace(tzinfo=None), date(2024, 1, 1), NOON.time(), timedelta(1), "2024-01-01T00:00:00Z", "soon", 5, []],
)
def test_what_is_no_time_in_utc_is_refused(wrong: Any) -> None:
    context = Shop()
    follower = Follower(context)
    context.opened_at = wrong
    with pytest.raises(EncodeError, match="at /opened_at"):
        follower.follow()


@pytest.mark.parametrize("name", ["anything", "metadata", "product_query"])
async def test_a_time_in_another_field_is_refused_or_survives(name: str) -> None:
    context = Shop()
    setattr(context, name, NOON)
    try:
        found = await loaded(context, Shop)
    except EncodeError:
        return
    assert identical(getattr(found, name), NOON)


async def test_typed_fields_survive() -> None:
    context = Shop(cart=[], limit=None, lines=[{"product_id": "p", "count": 2}], anything=[1, 1.0, True])
    context.wishes.append(Product("p-1", price=10**20))
    found = await loaded(context, Shop)
    for name in ("cart", "limit", "lines", "mode", "anything"):
        assert identical(getattr(found, name), getattr(context, name))
    assert type(found.wishes) is RecordList
    assert list(found.wishes) == list(context.wishes)


# -- other classes


async def test_fields_of_another_class_survive_its_saves() -> None:
    context = Shop(cart=["milk"], paid_at=NOON, anything={"a": [1.0]})
    context.wishes.append({"product_id": "p-1", "unknown": None})
    store = MemorySessionStore()
    await store.save_session(context)
    plain = await store.load_session(context.session_id)
    assert plain is not None
    with pytest.raises(AttributeError):
        _ = plain.cart  # type: ignore[attr-defined]
    assert serialize_context(plain)["wishes"] == [{"product_id": "p-1", "unknown": None}]
    plain.product_query = "fridge"
    plain.conversation_history.append(Message("user"))
    await store.save_session(plain)
    found = await store.load_session(context.session_id, context_class=Shop)
    assert found is not None
    assert (found.cart, found.paid_at, found.product_query) == (["milk"], NOON, "fridge")
    assert identical(found.anything, {"a": [1.0]})
    assert list(found.wishes) == list(context.wishes)
    found.wishes.append({"product_id": "p-2"})
    await store.save_session(found)


async def test_new_fields_of_an_old_session_have_their_default() -> None:
    store, context = MemorySessionStore(), SwisperContext(product_query="fridge")
    await store.save_session(context)
    found = await store.load_session(context.session_id, context_class=Shop)
    assert found is not None
    assert (found.cart, found.opened_at, len(found.wishes)) == (["bag"], NOON, 0)
    found.cart.append("milk")
    found.wishes.append({"product_id": "p-1"})
    await store.save_session(found)
    again = await store.load_session(context.session_id, context_class=Shop)
    assert again is not None
    assert (again.cart, again.product_query) == (["bag", "milk"], "fridge")
    assert again.wishes[0].product_id == "p-1"


async def test_a_text_that_is_no_time_is_an_error_where_it_is_read() -> None:
    class Text(SwisperContext):
        opened_at: Any = None

    for value in ("soon", 5):
        found = await loaded(Text(product_query="fridge", opened_at=value), Shop)
        assert found.product_query == "fridge"
        with pytest.raises(DecodeError, match="/opened_at"):
            _ = found.opened_at


class Moment(datetime):
    """A time of another class would come back as a datetime."""


def test_a_subclass_of_datetime_is_refused_by_records_and_by_fields_alike() -> None:
    moment = Moment(2024, 2, 29, 12, tzinfo=UTC)
    with pytest.raises(EncodeError) as of_record:
        Message("user", timestamp=moment)
    context = Shop(opened_at=moment)
    with pytest.raises(EncodeError) as of_field:
        context._freeze()
    assert (of_record.value.pointer, of_field.value.pointer) == ("/timestamp", "/opened_at")
