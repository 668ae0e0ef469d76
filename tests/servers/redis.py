"""A Redis or Valkey server for tests, without persistence."""

from __future__ import annotations

from pathlib import Path

from tests.servers.process import ServerProcess


class RedisServer(ServerProcess):
    """Settings are those of redis.conf with underscores: `RedisServer(program, maxmemory="2mb")`."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str | Path]:
        settings = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": '""',
            "databases": 256,
            **self.settings,
        }
        lines = [f"{name.replace('_', '-')} {value}\n" for name, value in settings.items()]
        configuration = self.directory / "redis.conf"
        configuration.write_text("".join(lines))
        return [self.program.path, configuration]

    def is_ready(self) -> bool:
        # Not by asking: where the port was taken, another server would answer.
        return "Ready to accept connections" in self.log()
