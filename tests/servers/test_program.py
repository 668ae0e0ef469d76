from __future__ import annotations

import pytest
from tests.servers.program import NoServerError, find_postgres, find_redis


def test_a_server_that_is_not_here_fails_with_what_was_tried() -> None:
    with pytest.raises(NoServerError, match=r"no PostgreSQL 9 to start.*bin/postgres: PostgreSQL \d+"):
        find_postgres("9")
    with pytest.raises(NoServerError, match=r"no Redis 2 to start.*server: (Redis|Valkey) \d+"):
        find_redis("2")


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.program.REDIS_WHEELS", {})
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoServerError, match="dependency group `servers`"):
        find_redis()


def test_a_version_is_chosen_by_its_major() -> None:
    found = find_postgres()
    assert find_postgres(found.major).version == found.version
    assert find_redis(find_redis().product.lower()).path == find_redis().path
