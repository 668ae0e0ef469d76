"""How a context class declares its fields."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_origin

from swisper_ctx._core import RecordList
from swisper_ctx.errors import DecodeError

if TYPE_CHECKING:
    from swisper_ctx.context import SwisperContext

__all__ = ["FieldSpec", "declared_fields", "declared_types", "field", "with_slots_of"]

T = TypeVar("T")

CLASS_VARIABLE = re.compile(r"(\w+\.)?ClassVar\b")
JSON_SCALARS = (str, int, float, bool, type(None))


class FieldSpec(NamedTuple):
    """One declared field: how it starts, and how it is read back from its JSON form."""

    name: str
    default: Callable[[], Any]
    record_class: type[Any] | None = None
    """For a list of records, their class."""
    is_time: bool = False

    def decode(self, value: Any) -> Any:
        """The Python value of a stored one. Raises DecodeError for one of another class, which is no time."""
        if not self.is_time or value is None:
            return value
        try:
            found = datetime.fromisoformat(value)
            if found.utcoffset() is not None:
                return found.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            pass
        raise DecodeError("a time with its offset from UTC was expected", pointer=f"/{self.name}")

    def initial(self) -> Any:
        """A new value for a context that has none yet."""
        value = self.default()
        return value if self.record_class is None else RecordList(self.record_class, value)


class FieldDescriptor:
    """Puts the value of a field into the instance's `__dict__` when it is first read.

    From then on the attribute is an ordinary one, and the keys of `__dict__` are the fields that may have changed.
    """

    __slots__ = ("name", "spec")

    def __init__(self, spec: FieldSpec) -> None:
        self.spec, self.name = spec, spec.name

    def __get__(self, context: SwisperContext | None, owner: type[Any]) -> Any:
        if context is None:
            return self
        snapshot, name = context._position.snapshot, self.name
        value = self.spec.decode(snapshot.get(name)) if name in snapshot else self.spec.initial()
        context.__dict__[name] = value
        return value


def declared_fields(
    cls: type[Any], inherited: Mapping[str, FieldSpec], taken: Collection[str] = ()
) -> dict[str, FieldSpec]:
    """The fields that a class body declares, in order; one it only gives another default keeps its type.

    `taken` are the names of what else every context has. Raises TypeError for one of those, for a type that a context
    cannot hold, and for what works in a dataclass and not here.
    """
    _check_members(cls)
    specs = {}
    for name, hint in declared_types(cls).items():
        if name in taken:
            raise TypeError(f"{cls.__name__}.{name}: a context has something else of this name")
        specs[name] = _spec(cls, name, hint)
    for name in cls.__dict__:
        if name in inherited and name not in specs:
            specs[name] = inherited[name]._replace(default=_default(cls, name))
    return specs


def declared_types(cls: type[Any]) -> dict[str, Any]:
    """The types that a class body gives to its fields, in order: all it annotates but class variables.

    Raises TypeError for one that is not known where the class is made.
    """
    found = {}
    for name, annotation in inspect.get_annotations(cls).items():
        try:
            hint = _resolved(cls, annotation)
        except NameError as error:
            if CLASS_VARIABLE.match(str(annotation)):
                continue
            raise TypeError(
                f"{cls.__name__}.{name}: {error.name} is not known when the class is made; it must be in the module, "
                "imported at run time too, and neither in a function nor under TYPE_CHECKING"
            ) from error
        if typing.ClassVar not in (hint, get_origin(hint)):
            found[name] = get_args(hint)[0] if get_origin(hint) is typing.Final else hint
    return found


def _resolved(cls: type[Any], annotation: Any) -> Any:
    alone = type("alone", (), {"__annotations__": {"it": annotation}, "__module__": cls.__module__})
    return typing.get_type_hints(alone, localns=dict(vars(cls)))["it"]


def _check_members(cls: type[Any]) -> None:
    for name, member in (found for base in cls.__mro__ for found in vars(base).items()):
        if isinstance(member, cached_property):
            raise TypeError(f"{cls.__name__}.{name}: what a cached_property keeps would be saved; make it a property")
        if name == "__post_init__":
            raise TypeError(f"{cls.__name__}.{name} would not be called: contexts are made by loading too")


def _spec(cls: type[Any], name: str, hint: Any) -> FieldSpec:
    if get_origin(hint) is RecordList:
        return FieldSpec(name, _default(cls, name), record_class=get_args(hint)[0])
    is_time = hint is datetime or (_is_union(hint) and set(get_args(hint)) == {datetime, type(None)})
    if not is_time and not _is_json(hint):
        raise TypeError(f"{cls.__name__}.{name}: a field is a JSON type, datetime or RecordList[...], not {hint!r}")
    return FieldSpec(name, _default(cls, name), is_time=is_time)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (typing.Union, types.UnionType)


def _is_json(hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if _is_union(hint) or origin is list:
        return all(map(_is_json, args))
    if origin is dict:
        return not args or (args[0] is str and _is_json(args[1]))
    if origin is typing.Literal:
        return all(isinstance(choice, JSON_SCALARS) for choice in args)
    return hint is Any or hint in (*JSON_SCALARS, list, dict) or typing.is_typeddict(hint)


def _default(cls: type[Any], name: str) -> Callable[[], Any]:
    declared = cls.__dict__.get(name, dataclasses.MISSING)
    if isinstance(declared, dataclasses.Field):
        if declared.default_factory is not dataclasses.MISSING:
            return declared.default_factory
        declared = declared.default
    if declared is dataclasses.MISSING:
        raise TypeError(f"{cls.__name__}.{name} needs a default: a stored session may not have it yet")
    if hasattr(declared, "__get__"):
        raise TypeError(f"{cls.__name__}.{name} is a field and has a value, which a {type(declared).__name__} is not")
    if isinstance(declared, list | dict):
        raise TypeError(f"{cls.__name__}.{name}: use field(default_factory={type(declared).__name__})")
    return lambda: declared


def with_slots_of(source: T, target: T, copied: Callable[[Any], Any] = lambda value: value) -> T:
    """`target` with what a context of the same class has in the slots that its classes declare beside their fields."""
    slots = [each for base in type(source).__mro__ for each in vars(base).values() if inspect.ismemberdescriptor(each)]
    for slot in slots:
        if slot.__name__ != "_position":
            with suppress(AttributeError):  # nothing is there
                slot.__set__(target, copied(slot.__get__(source)))
    return target
