"""The session memory of the OpenAI Agents SDK in PostgreSQL: a turn reads the history, as its runner does, and adds."""

from __future__ import annotations

from collections.abc import Sequence

from agents.extensions.memory import SQLAlchemySession
from agents.items import TResponseInputItem
from sqlalchemy.ext.asyncio import create_async_engine

CONNECTIONS = 20


class OpenAISessions:
    """Sessions of one engine."""

    def __init__(self, dsn: str, schema: str) -> None:
        url = dsn.replace("postgresql://", "postgresql+asyncpg://", 1).partition("?")[0]
        settings = {"ssl": False, "server_settings": {"search_path": schema}}
        self._engine = create_async_engine(url, pool_size=CONNECTIONS, connect_args=settings)

    async def create(self, name: str, said: Sequence[tuple[str, str]]) -> SQLAlchemySession:
        session = SQLAlchemySession(name, engine=self._engine, create_tables=True)
        await session.add_items(items(said))
        return session

    async def turn(self, session: SQLAlchemySession, said: Sequence[tuple[str, str]]) -> int:
        """How many items there were before."""
        before = await session.get_items()
        await session.add_items(items(said))
        return len(before)

    async def aclose(self) -> None:
        await self._engine.dispose()


def items(said: Sequence[tuple[str, str]]) -> list[TResponseInputItem]:
    return [{"role": "user" if role == "user" else "assistant", "content": content} for role, content in said]
