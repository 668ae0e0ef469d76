"""A Redis Cluster: each key by itself, at the node that has it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from swisper_ctx.stores.redis.link import Command, Link, Values, told
from swisper_ctx.stores.redis.scripts import Script

ByKey = dict[bytes, list[tuple[bytes, Values]]]


class ClusterLink(Link):
    """As Link, for the nodes that the one at the URL tells. While one of them fails, none is asked."""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(url, seconds)
        self._client: Any = RedisCluster.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0)
        )
        self._found: asyncio.Task[Any] | None = None

    async def run(self, script: Script, common: Values, entries: Sequence[tuple[bytes, Values]]) -> Any:
        """The answer for one key, the sum of those for several; those of one key stay in their order."""
        by_key: ByKey = {}
        for entry in entries:
            by_key.setdefault(entry[0], []).append(entry)
        answers = await self._run(script.sha, "EVALSHA", common, by_key)
        unknown = [key for key, answer in answers.items() if isinstance(answer, NoScriptError)]
        if unknown:
            answers |= await self._run(script.text, "EVAL", common, {key: by_key[key] for key in unknown})
        for answer in answers.values():
            if isinstance(answer, ResponseError):
                raise answer
        return next(iter(answers.values())) if len(answers) == 1 else sum(answers.values())

    async def _run(self, script: str, command: str, common: Values, by_key: ByKey) -> dict[bytes, Any]:
        commands: list[Command] = []
        for key, entries in by_key.items():
            values = [value for _, own in entries for value in own]
            commands.append((command, script, len(entries), *[key] * len(entries), *common, *values))
        return dict(zip(by_key, await self.call(*commands), strict=True))

    async def hang_up(self, nowait: bool = True) -> None:
        """Close all connections; the nodes are asked for anew, unless that is still under way."""
        if self._found is not None and not self._found.done():
            if nowait:
                return
            self._found.cancel()
            await asyncio.wait([self._found])
        self._found = None
        with suppress(RedisError):
            await self._client.aclose()

    async def _converse(self, commands: Sequence[Command]) -> list[Any]:
        if self._found is None:
            # For as long as it takes: who cannot wait goes on without Redis, the next finds the nodes known.
            self._found = asyncio.ensure_future(self._client.initialize())
            self._found.add_done_callback(lambda found: found.cancelled() or found.exception())
        await asyncio.shield(self._found)
        pipeline = self._client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        return [answered(answer) for answer in await pipeline.execute(raise_on_error=False)]


def answered(answer: Any) -> Any:
    """An answer as one Redis gives it. Raises it if it is an error that is none of Redis's answers."""
    if isinstance(answer, ResponseError):
        return told(answer)
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, dict):
        return [part for pair in answer.items() for part in pair]
    return answer
