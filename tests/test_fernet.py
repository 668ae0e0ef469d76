from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from os import urandom

from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from swisper_ctx.fernet import HEADER, FernetKey

KEY = bytes(range(32))
OURS, THEIRS = FernetKey(KEY), Fernet(urlsafe_b64encode(KEY))


def opened(token: bytes) -> bytes:
    return THEIRS.decrypt(urlsafe_b64encode(token))


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=20))
def test_each_opens_what_the_other_has_sealed(bodies: list[bytes]) -> None:
    # One key seals many: no token depends on those before it.
    for token, body in [(OURS.seal(body), body) for body in bodies]:
        assert OURS.open(token) == opened(token) == body
    for body in bodies:
        assert OURS.open(urlsafe_b64decode(THEIRS.encrypt(body))) == body


def test_every_token_has_a_vector_of_its_own() -> None:
    tokens = [OURS.seal(b"the same") for _ in range(5_000)]
    assert len({token[9:HEADER] for token in tokens}) == len({token[HEADER:-32] for token in tokens}) == 5_000
    ones = sum(int.from_bytes(token[9:HEADER], "big").bit_count() for token in tokens)
    # 640,000 bits, of which half are set but for 400 or so.
    assert abs(ones - 320_000) < 4_000


def test_threads_seal_and_open_by_one_key_at_once() -> None:
    bodies = [urandom(size) for size in range(0, 40_000, 100)]
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(OURS.seal, bodies))
        assert list(pool.map(OURS.open, tokens)) == list(map(opened, tokens)) == bodies


def test_a_token_is_opened_whatever_was_refused_before() -> None:
    token, body = OURS.seal(b"body"), b"body"
    # Signed, and padded by nothing that is one: what only who has the key can make.
    odd = FernetKey(KEY)
    signed = token[:HEADER] + token[HEADER:-32][::-1]
    odd._mac.update(signed)
    assert OURS.open(signed + odd._mac.finalize()) is None
    assert OURS.open(token[:-1] + bytes([token[-1] ^ 1])) is None
    assert OURS.open(token) == body
