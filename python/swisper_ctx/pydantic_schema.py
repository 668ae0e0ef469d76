"""Records, lists of them and contexts as pydantic models; imported only when pydantic asks for their schema.

A request is checked as the constructors check: exact types, RFC 3339 text for times, unknown keys kept. A response is
what `to_dict`, `to_dicts` and `serialize_context` give. FastAPI takes a single record or a context from the body only
if it is told to: `Annotated[Message, Body()]`.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from swisper_ctx._core import RecordList
from swisper_ctx.errors import PrivacyError


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("a time is RFC 3339 text") from None


def _number() -> CoreSchema:
    exact = [core_schema.int_schema(strict=True), core_schema.float_schema(strict=True, allow_inf_nan=False)]
    return core_schema.union_schema([*exact], mode="left_to_right")


def _moment() -> CoreSchema:
    aware = core_schema.datetime_schema(strict=True, tz_constraint="aware")
    return core_schema.no_info_before_validator_function(_parsed, aware)


def _content() -> CoreSchema:
    return core_schema.union_schema([core_schema.str_schema(strict=True), core_schema.list_schema(strict=True)])


# The kinds of rust/py/src/schema.rs.
KINDS: dict[str, Callable[[], CoreSchema]] = {
    "id": lambda: core_schema.str_schema(strict=True),
    "text": lambda: core_schema.str_schema(strict=True),
    "now": _moment,
    "time": _moment,
    "number": _number,
    "integer": lambda: core_schema.int_schema(strict=True),
    "content": _content,
    "list": lambda: core_schema.list_schema(strict=True),
    "object": lambda: core_schema.dict_schema(core_schema.str_schema(strict=True), strict=True),
    "any": core_schema.any_schema,
}


def record_schema(cls: type[Any]) -> CoreSchema:
    """The schema of a record class."""
    fields = {name: _field(kind, required) for name, kind, required in cls._fields}

    def made(members: dict[str, Any]) -> Any:
        record = cls(**{name: value for name, value in members.items() if name in fields})
        unknown = {name: value for name, value in members.items() if name not in fields}
        return cls.from_dict({**record.to_dict(), **unknown}) if unknown else record

    members = _members(fields)
    return _passing(
        core_schema.no_info_after_validator_function(made, members),
        lambda value: isinstance(value, cls),
        lambda record: record.to_dict(),
        _ref(cls),
    )


def _field(kind: str, required: bool) -> core_schema.TypedDictField:
    schema = KINDS[kind]()
    # The rule of `FieldSpec::allows_none`.
    allows_none = not required and kind not in ("id", "any")
    schema = core_schema.nullable_schema(schema) if allows_none else schema
    return core_schema.typed_dict_field(schema, required=required)


def list_schema(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """The schema of `RecordList[R]`."""
    if not typing.get_args(source):
        raise TypeError("pydantic must know the class of the records: RecordList[Message]")
    (cls,) = typing.get_args(source)

    def made(records: list[Any]) -> RecordList[Any]:
        return RecordList(cls, records)

    return _passing(
        core_schema.no_info_after_validator_function(
            made, core_schema.list_schema(handler.generate_schema(cls), strict=True)
        ),
        lambda value: isinstance(value, RecordList) and value.record_class is cls,
        lambda records: records.to_dicts(),
    )


def context_schema(
    cls: type[Any],
    handler: GetCoreSchemaHandler,
    types: Mapping[str, Any],
    deserialize: Callable[[Mapping[str, Any], type[Any]], Any],
    serialize: Callable[[Any], dict[str, Any]],
) -> CoreSchema:
    """The schema of a context class, whose fields have these `types`."""
    times = {name for name, hint in types.items() if datetime in (hint, *typing.get_args(hint))}
    rebuilt = {spec.name for spec in cls._fields.values() if spec.record_class}

    def member(name: str) -> core_schema.TypedDictField:
        if name not in times:
            return core_schema.typed_dict_field(handler.generate_schema(types[name]), required=False)
        optional = type(None) in typing.get_args(types[name])
        schema = core_schema.nullable_schema(_moment()) if optional else _moment()
        return core_schema.typed_dict_field(schema, required=False)

    def made(source: Any, checked: Callable[[Any], dict[str, Any]]) -> Any:
        if isinstance(source, cls):
            return source
        members = checked(source)
        # What was only checked is taken as it came: a check may turn 1 into 1.0.
        as_given = {name: value for name, value in source.items() if name not in rebuilt | times}
        moments = {name: members[name] and members[name].isoformat() for name in times & members.keys()}
        records = {name: members[name] for name in rebuilt & members.keys()}
        try:
            return deserialize({**as_given, **moments, **records}, cls)
        except PrivacyError as error:
            # To pydantic only a ValueError is a fault of what it validates.
            raise ValueError(str(error)) from error

    members = _members({name: member(name) for name in types})
    serialization = core_schema.plain_serializer_function_ser_schema(serialize)
    return core_schema.no_info_wrap_validator_function(made, members, serialization=serialization, ref=_ref(cls))


def _members(fields: dict[str, core_schema.TypedDictField]) -> CoreSchema:
    config = core_schema.CoreConfig(strict=True)
    return core_schema.typed_dict_schema(fields, extra_behavior="allow", config=config)


def _passing(
    schema: CoreSchema,
    is_instance: Callable[[Any], bool],
    serialize: Callable[[Any], Any],
    ref: str | None = None,
) -> CoreSchema:
    """A schema that lets instances through as they are."""

    def checked(value: Any, check: Callable[[Any], Any]) -> Any:
        return value if is_instance(value) else check(value)

    serialization = core_schema.plain_serializer_function_ser_schema(serialize)
    return core_schema.no_info_wrap_validator_function(checked, schema, serialization=serialization, ref=ref)


def _ref(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}:{id(cls)}"
