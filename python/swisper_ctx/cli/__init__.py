"""The command line: `swisper-ctx`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the `swisper-ctx` command; it needs the extra packages of `swisper_ctx[cli]`."""
    try:
        from swisper_ctx.cli.commands import commands
    except ModuleNotFoundError as missing:
        if missing.name not in {"click", "rich"}:
            raise
        raise SystemExit(f"swisper-ctx needs {missing.name}: pip install 'swisper_ctx[cli]'") from None
    commands()
