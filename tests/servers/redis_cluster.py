"""A Redis Cluster for tests: three masters, a third of the slots each."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import Any, Self

import redis
from tests.servers.process import START_SECONDS, ServerFailedError, free_port
from tests.servers.program import Program
from tests.servers.redis import RedisServer

SLOTS = 16_384
NODES = 3


class RedisCluster:
    """Settings are those of each node's redis.conf with underscores.

    Attributes:
        nodes: the servers, each of which can be stopped and started.
    """

    def __init__(self, program: Program, **settings: str | int) -> None:
        self._servers = contextlib.ExitStack()
        self.nodes = [
            RedisServer(
                program,
                **{"cluster_enabled": "yes", "cluster_port": free_port(), "cluster_node_timeout": 2_000, **settings},
            )
            for _ in range(NODES)
        ]

    @property
    def url(self) -> str:
        """Of one node, which tells the others."""
        return self.nodes[0].url

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as servers:
            for node in self.nodes:
                servers.enter_context(node)
            self._form()
            self._servers = servers.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._servers.close()

    def _form(self) -> None:
        bounds = [number * SLOTS // NODES for number in range(NODES + 1)]
        for number, node in enumerate(self.nodes):
            _execute(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            _execute(node, "CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            _execute(self.nodes[0], "CLUSTER MEET", "127.0.0.1", node.port, node.settings["cluster_port"])
        deadline = time.monotonic() + START_SECONDS
        while not all(map(_is_complete, self.nodes)):
            if time.monotonic() > deadline:
                raise ServerFailedError(f"the nodes do not find one another: {[node.log() for node in self.nodes]}")
            time.sleep(0.02)


def _execute(node: RedisServer, command: str, *arguments: str | int) -> Any:
    with redis.Redis(port=node.port, decode_responses=True) as client:
        return client.execute_command(command, *arguments)


def _is_complete(node: RedisServer) -> bool:
    info = _execute(node, "CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == NODES
