"""A LangGraph of one node over its checkpointer in PostgreSQL: a turn runs the graph with what the user says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

CONNECTIONS = 20


class LangGraph:
    """Threads of one graph, whose node always gives the same answer."""

    def __init__(self, pool: Any, graph: Any) -> None:
        self._pool, self._graph = pool, graph

    @classmethod
    async def open(cls, dsn: str, answer: str) -> LangGraph:
        settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        pool: Any = AsyncConnectionPool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=settings, open=False)
        await pool.open()
        saver = AsyncPostgresSaver(pool)
        await saver.setup()

        def node(state: MessagesState) -> dict[str, Any]:
            return {"messages": [AIMessage(answer)]}

        builder: Any = StateGraph(MessagesState)
        builder.add_node("answer", node)
        builder.add_edge(START, "answer")
        builder.add_edge("answer", END)
        return cls(pool, builder.compile(checkpointer=saver))

    async def create(self, name: str, said: Sequence[tuple[str, str]]) -> RunnableConfig:
        thread: RunnableConfig = {"configurable": {"thread_id": name}}
        messages = [HumanMessage(text) if role == "user" else AIMessage(text) for role, text in said]
        await self._graph.aupdate_state(thread, {"messages": messages})
        return thread

    async def turn(self, thread: RunnableConfig, said: str) -> int:
        """How many messages there were before."""
        state = await self._graph.ainvoke({"messages": [HumanMessage(said)]}, thread)
        return len(state["messages"]) - 2

    async def aclose(self) -> None:
        await self._pool.close()
