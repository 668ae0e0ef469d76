"""The README is short, and what it shows runs."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

LINES = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").splitlines()


def python_blocks() -> list[object]:
    """Each block fenced as python, pushed down so that a traceback names its lines in the README."""
    fences = [number for number, line in enumerate(LINES) if line.startswith("```")]
    return [
        pytest.param("\n" * (begin + 1) + "\n".join(LINES[begin + 1 : end]), id=f"line-{begin + 2}")
        for begin, end in zip(fences[::2], fences[1::2], strict=True)
        if LINES[begin] == "```python"
    ]


def test_fits_on_a_page() -> None:
    assert len(LINES) <= 120


def test_has_room_for_the_figures() -> None:
    assert LINES.index("<!-- figures:begin -->") < LINES.index("<!-- figures:end -->")


@pytest.mark.parametrize("source", python_blocks())
def test_block_runs(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Classes look for the module that they are declared in.
    script = ModuleType("readme_block")
    monkeypatch.setitem(sys.modules, script.__name__, script)
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    awaitable = eval(code, vars(script))
    if inspect.iscoroutine(awaitable):
        asyncio.run(awaitable)
