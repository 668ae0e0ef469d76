"""`python -m swisper_ctx.cli` is `swisper-ctx`."""

from swisper_ctx.cli import main

main()
