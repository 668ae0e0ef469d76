from __future__ import annotations

import sys

import pytest

from swisper_ctx.cli import main


@pytest.mark.parametrize("absent", ["click", "rich"])
def test_a_missing_extra_is_explained(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    for name in [name for name in sys.modules if name.startswith("swisper_ctx.cli.") or name.split(".")[0] == absent]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(SystemExit, match=r"pip install 'swisper_ctx\[cli\]'"):
        main()
