"""More than one interpreter in a process, as some servers have."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

USE = '''
import sys
sys.path[:0] = {path!r}
try:
    from swisper_ctx import EncodeError, Message, dumps
    try:
        dumps(float("nan"))
    except EncodeError:
        print("{name}: works", flush=True)
    dumps([Message(role="user", content="x", metadata={{"a": [1]}}).metadata])
except ImportError as error:
    print("{name}:", error, flush=True)
'''

def use(name):
    code = USE.format(path=sys.path, name=name)
    if name == "main":
        return exec(code, {})
    interpreter = interpreters.create("legacy") if sys.version_info >= (3, 13) else interpreters.create(isolated=False)
    (interpreters.exec if sys.version_info >= (3, 13) else interpreters.run_string)(interpreter, code)
    interpreters.destroy(interpreter)

for name in sys.argv[1:]:
    use(name)
"""
REFUSED = "swisper_ctx works in one interpreter of a process, and another one has it"


@pytest.mark.parametrize(
    ("order", "works"), [("main sub main", "main"), ("sub main sub", "sub 1"), ("main", "main")], ids=str
)
def test_the_first_interpreter_has_it(order: str, works: str) -> None:
    names = [name if name == "main" else f"sub {at // 2 + 1}" for at, name in enumerate(order.split())]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = [f"{name}: works" if name == works else f"{name}: {REFUSED}" for name in names]
    assert done.stdout.splitlines() == told
