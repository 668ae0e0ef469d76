from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from swisper_ctx.cli.conversations import SAMPLE, Conversation, SourceError, Turn, chain, cut, load_source, messages_of
from swisper_ctx.cli.flights import product, products_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWISPER_DATA", str(SAMPLE))


def say(role: str, content: str = "") -> dict[str, str]:
    return {"role": role, "content": content}


def test_sample_holds_four_users_longest_first() -> None:
    source = load_source()
    assert [len(conversation.messages) for conversation in source.conversations] == [514, 160, 128, 70]
    assert (source.chained, source.messages, source.turns) == (32, 872, 212)


def test_users_limits_to_the_longest() -> None:
    source = load_source(2)
    assert [conversation.user_id for conversation in source.conversations] == ["sophia_silva_7557", "omar_davis_3817"]


def test_turns_hold_every_message_of_the_source_in_order() -> None:
    dialogues = json.loads(gzip.decompress(SAMPLE.read_bytes()))
    chains = chain(dialogues)
    for conversation in load_source().conversations:
        assert messages_of(conversation.turns) == [message for each in chains[conversation.user_id] for message in each]
        assert [turn.number for turn in conversation.turns] == list(range(1, len(conversation.turns) + 1))


def test_each_turn_has_one_user_message() -> None:
    for conversation in load_source().conversations:
        for turn in conversation.turns:
            assert [message["role"] for message in turn.messages].count("user") == 1


def test_a_system_prompt_belongs_to_the_turn_after_it() -> None:
    first, second = [say("system"), say("user", "a"), say("assistant")], [say("system"), say("user", "b")]
    turns = list(cut([first, second]))
    assert turns == [Turn(1, tuple(first)), Turn(2, tuple(second))]


def test_chain_orders_by_task_and_trial() -> None:
    dialogues = [
        {"task_id": task, "trial": trial, "info": {"task": {"user_id": "u"}}, "traj": [say("user", f"{task}.{trial}")]}
        for task, trial in ((2, 0), (1, 1), (1, 0))
    ]
    assert [each[0]["content"] for each in chain(dialogues)["u"]] == ["1.0", "1.1", "2.0"]


@pytest.mark.parametrize(("messages", "turns"), [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (9, 2)])
def test_turns_in_counts_whole_turns(messages: int, turns: int) -> None:
    conversation = Conversation(
        "u", tuple(cut([[say("user"), say("assistant"), say("user"), *[say("assistant")] * 2]]))
    )
    assert conversation.turns_in(messages) == turns


def test_a_missing_source_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWISPER_DATA", str(tmp_path))
    with pytest.raises(SourceError, match=r"gpt-4o-airline\.json\.gz"):
        load_source()


def test_a_file_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "other.json.gz"
    path.write_bytes(gzip.compress(b'[{"messages": []}]'))
    monkeypatch.setenv("SWISPER_DATA", str(path))
    with pytest.raises(SourceError, match="does not hold"):
        load_source()


def test_a_directory_may_hold_the_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held = tmp_path / "taubench_airline_trajectories" / "gpt-4o-airline.json.gz"
    held.parent.mkdir()
    held.write_bytes(SAMPLE.read_bytes())
    monkeypatch.setenv("SWISPER_DATA", str(tmp_path))
    assert load_source().path == held


def test_a_connecting_flight_is_one_product_at_its_cheapest_cabin() -> None:
    legs = [
        {"flight_number": "A1", "origin": "JFK", "destination": "ATL", "prices": {"economy": 100, "business": 90}},
        {"flight_number": "B2", "origin": "ATL", "destination": "SEA", "prices": {"economy": 50, "business": 500}},
    ]
    found = product(legs)
    assert (found["product_id"], found["name"], found["price"]) == ("A1+B2", "JFK - ATL - SEA", 150)
    assert found["attributes"] == {"legs": legs}


def test_searches_of_the_sample_find_products() -> None:
    found = [products_of(conversation.turns) for conversation in load_source().conversations]
    assert [len(products) for products in found] == [86, 45, 24, 0]
    assert all(product["attributes"]["legs"] and product["price"] > 0 for products in found for product in products)
