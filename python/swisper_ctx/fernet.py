"""Fernet tokens as they are stored: those of the specification (https://github.com/fernet/spec), without base64.

`cryptography.fernet` gives and takes base64 alone, which is more than half of its time: 64 kB are opened in 67 us here
and in 390 there. The ciphers are those of `cryptography`; its Fernet opens these tokens once they are encoded.
"""

from __future__ import annotations

import threading
import time
from os import urandom

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

VERSION = b"\x80"
HEADER = 25
"""Version, time (8 bytes) and initialization vector (16)."""
MAC = 32
BLOCK = 16
PADDING = [bytes([length]) * length for length in range(BLOCK + 1)]


class Ciphers(threading.local):
    """What encrypts and decrypts by one key in one thread: to make it for each token would be half of a token's time.

    Both go on from token to token, as cipher block chaining allows. A random block comes out of the chain as one that
    is as random, for AES permutes blocks: that is the vector, and what follows is encrypted by it. Decrypted, the
    vector gives a block that means nothing, and what follows is right.
    """

    def __init__(self, key: bytes) -> None:
        self.encryptor = Cipher(AES128(key), CBC(urandom(BLOCK))).encryptor()
        self.decryptor = Cipher(AES128(key), CBC(urandom(BLOCK))).decryptor()


class FernetKey:
    """One key: 32 bytes, of which 16 sign and 16 encrypt."""

    __slots__ = ("_ciphers", "_mac")

    def __init__(self, key: bytes) -> None:
        self._mac, self._ciphers = HMAC(key[:16], SHA256()), Ciphers(key[16:])

    def seal(self, body: bytes) -> bytes:
        """The token around a body."""
        padded = b"".join((urandom(BLOCK), body, PADDING[BLOCK - len(body) % BLOCK]))
        encrypted = self._ciphers.encryptor.update(padded)
        signed = b"".join((VERSION, int(time.time()).to_bytes(8, "big"), encrypted))
        mac = self._mac.copy()
        mac.update(signed)
        return signed + mac.finalize()

    def open(self, token: bytes) -> bytes | None:
        """The body; None if it is no token of this key. Its age does not count."""
        if not self.has_signed(token):
            return None
        padded = self._ciphers.decryptor.update(token[HEADER - BLOCK : -MAC])
        length = padded[-1]
        return padded[BLOCK:-length] if 1 <= length <= BLOCK and padded.endswith(PADDING[length]) else None

    def has_signed(self, token: bytes) -> bool:
        """Whether it is a token of this key."""
        encrypted = len(token) - HEADER - MAC
        if token[:1] != VERSION or encrypted < BLOCK or encrypted % BLOCK:
            return False
        mac = self._mac.copy()
        mac.update(token[:-MAC])
        try:
            mac.verify(token[-MAC:])
        except InvalidSignature:
            return False
        return True
