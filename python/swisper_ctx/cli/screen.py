"""What the demo shows while it works: moving bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WIDTH = 96


@contextmanager
def bar(console: Console, unit: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar for `total` units of work, gone at its end."""
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(unit, total=total)
        yield lambda: progress.advance(task)


class Screen:
    """The demo's output. Off a terminal, or without UTF-8, it is plain ASCII."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, emoji=False)
        self.console.width = min(self.console.width, WIDTH) if self.console.is_terminal else WIDTH
        self.ascii_only = not (self.console.is_terminal and self.console.encoding.startswith("utf"))

    def step(self, text: str) -> None:
        """The heading of one step."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str, style: str = "") -> None:
        """A line under a heading; markup in it is not read."""
        self.console.print(f"  {text}", style=style, markup=False, soft_wrap=True)

    @contextmanager
    def working(self, unit: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar for `total` units of work; call what it gives after each unit."""
        if self.ascii_only:
            self.say(f"{total} {unit} ...")
            yield lambda: None
            return
        with bar(self.console, unit, total) as advance:
            yield advance
