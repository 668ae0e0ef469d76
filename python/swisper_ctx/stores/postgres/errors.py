"""What asyncpg raises, as errors of this package.

Only the class of an error and its SQLSTATE come into a text: what the server says may quote a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from swisper_ctx.errors import OutcomeUnknownError, StoreError, StoreUnavailableError

IN_THE_WAY = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""Rolled back because of another transaction: the same may succeed a moment later."""

NOT_DONE = (
    *IN_THE_WAY,
    asyncpg.QueryCanceledError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
)
"""The server says that it did not do it, and may a little later."""

LOST = (
    OSError,  # with it TimeoutError
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
"""The connection is gone, or its answer is: what was asked for may have been done."""

DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

UNDEFINED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
)
NO_TABLES = "there are no tables of this library here: run `await store.migrate()` or `swisper-ctx migrate` once"


WRONG_DSN = "the DSN of PostgreSQL is wrong; it is like postgresql://user@host:5432/database"


def is_about_values(error: BaseException) -> bool:
    """Whether one of the values of a statement is to blame: without it the statement may succeed."""
    about = (
        ValueError,
        asyncpg.DataError,
        asyncpg.IntegrityConstraintViolationError,
        asyncpg.ProgramLimitExceededError,
    )
    return isinstance(error, about)


def was_lost(error: BaseException) -> bool:
    """Whether nobody knows what became of a statement that has raised this."""
    return isinstance(error, LOST) and not isinstance(error, NOT_DONE) and not is_about_values(error)


def store_error(error: BaseException) -> StoreError:
    """The error of this package for one of the driver, which becomes its cause unless it quotes values."""
    what = type(error).__name__
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        what = f"{what} (SQLSTATE {error.sqlstate})"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return StoreError(WRONG_DSN)
    if is_about_values(error):
        return StoreError(f"PostgreSQL does not take a value: {what}")
    mapped: StoreError
    if isinstance(error, UNDEFINED):
        mapped = StoreError(NO_TABLES)
    elif isinstance(error, TimeoutError):
        mapped = StoreUnavailableError("PostgreSQL did not answer in time")
    elif isinstance(error, (*LOST, *NOT_DONE)):
        mapped = StoreUnavailableError(f"PostgreSQL: {what}")
    else:
        mapped = StoreError(f"PostgreSQL: {what}")
    mapped.__cause__ = error
    return mapped


def write_error(error: BaseException) -> StoreError:
    """The same for one that a write has raised: where it may have been written, nobody knows."""
    if not was_lost(error):
        return store_error(error)
    unknown = OutcomeUnknownError(f"PostgreSQL did not say what became of it: {type(error).__name__}")
    unknown.__cause__ = error
    return unknown


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Turns what the driver raises into an error of this package."""
    try:
        yield
    except DRIVER_ERRORS as error:
        mapped = store_error(error)
        raise mapped from mapped.__cause__


@contextmanager
def mapped_connect_errors() -> Iterator[None]:
    """The same around connecting; what cannot be read of a DSN is not quoted, it may be of the password."""
    try:
        with mapped_errors():
            yield
    except ValueError:
        raise StoreError(WRONG_DSN) from None


@contextmanager
def mapped_write_errors() -> Iterator[None]:
    """The same around something that writes."""
    try:
        yield
    except DRIVER_ERRORS as error:
        mapped = write_error(error)
        raise mapped from mapped.__cause__
