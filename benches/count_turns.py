"""Takes turns and nothing else, for valgrind to count: `python -m benches.count_turns MESSAGES TURNS READERS`.

With READERS a snapshot from before the turns is held all the time, and always the one before the last.
"""

from __future__ import annotations

import gc
import sys

from benches.conversation import FIRST_NUMBER, add_turn, question

from swisper_ctx import SwisperContext


def main(messages: int, turns: int, readers: int) -> None:
    gc.disable()
    context = SwisperContext(user_id="u-17")
    message = question()
    for _ in range(messages):
        context.conversation_history.append(message)
    context.performance_metrics["turns"] = FIRST_NUMBER
    context._freeze()
    held = [context._position.snapshot] * 2
    for number in range(FIRST_NUMBER + 1, FIRST_NUMBER + 1 + turns):
        add_turn(context, number)
        delta = context._freeze()
        assert delta is not None
        assert delta.patch()
        if readers:
            held[1] = context._position.snapshot
    assert context._position.snapshot.count("conversation_history") == messages + 2 * turns
    assert held[0].count("conversation_history") == messages


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
