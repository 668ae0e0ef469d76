"""Where the figures come from: the machine, and the versions of everything compared."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path

from swisper_ctx._core import BUILD

PEERS = ("orjson", "msgspec", "ssrjson", "aiosqlite")


def describe() -> dict[str, str]:
    """Names and versions."""
    return {
        "CPU": f"{os.cpu_count()} x {cpu_model()}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "swisper_ctx": f"{version('swisper_ctx')} ({BUILD})",
        **{name: version(name) for name in PEERS},
    }


def cpu_model() -> str:
    """As the kernel names it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
