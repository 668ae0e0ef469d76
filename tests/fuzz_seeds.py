"""fuzz_seeds FOLDER writes what each target of rust/fuzz begins with, from the data of the tests, into its folder."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.jsonpatch_cases import SMALL

DATA = Path(__file__).parent / "data"
RECORDS = [b'{"message_id":"%d","content":"\xc3\xa9"}' % n for n in range(3)]
FIELDS = b'{"h":3,"d":null}'
PATCHES = [
    b'[{"op":"test","path":"/h/1/message_id","value":"1"},{"op":"replace","path":"/h/1/content","value":[1.0]}]',
    b'[{"op":"add","path":"/h/-","value":{}},{"op":"remove","path":"/h/0"},{"op":"add","path":"/n","value":"x"}]',
    b'[{"op":"move","from":"/d/a","path":"/h/1"},{"op":"copy","from":"/h","path":"/d/b"}]',
]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def texts() -> Iterator[bytes]:
    for text in json.loads((DATA / "jsontestsuite.json").read_bytes()).values():
        yield text.encode("latin-1", "ignore")[:2000]
    for text in json.loads((DATA / "blns.json").read_bytes()):
        yield json.dumps(text).encode()


def patches() -> Iterator[bytes]:
    for case in SMALL:
        yield b"\n".join(compact(case.get(key)) for key in ("doc", "expected", "patch"))
    history = [json.loads(record) for record in RECORDS]
    source, target = ({"h": records, "d": {"a": [1, 2.5, None]}} for records in (history, history[1:]))
    for patch in PATCHES:
        yield b"\n".join((compact(source), compact(target), patch))


def segments() -> Iterator[bytes]:
    for count in range(4):
        records = [record + b"," for record in RECORDS[:count]]
        ends = [sum(map(len, records[: n + 1])) for n in range(count)]
        yield struct.pack(f"<{count + 1}I", count, *ends) + b"".join(records)


def envelopes() -> Iterator[bytes]:
    payload = b"a run of records"
    raw = b"\x28\xb5\x2f\xfd\x20" + bytes([len(payload)]) + (len(payload) << 3 | 1).to_bytes(3, "little") + payload
    repeated = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", 100_000) + (100_000 << 3 | 3).to_bytes(3, "little") + b"a"
    for flags, length, body in ((0, len(payload), payload), (1, len(payload), raw), (1, 100_000, repeated)):
        start = b"SWCX" + bytes([1, 3, flags, 1]) + struct.pack("<II", 1, length) + bytes([7]) * 16
        yield start + struct.pack("<I", zlib.crc32(start + b"s" + body)) + b"s" + body


def sessions() -> Iterator[bytes]:
    blocks = [b'v{"d":{"a":[1,2.5,null]}}', b"sh\n" + list(segments())[3]]
    for count in range(len(PATCHES) + 1):
        yield b"\xff".join([FIELDS, *blocks, *(b"f" + patch for patch in PATCHES[:count])])


def main(folder: Path) -> None:
    seeds = {
        "json": texts(),
        "patch": patches(),
        "envelope": envelopes(),
        "segment": segments(),
        "replay": sessions(),
    }
    for target, inputs in seeds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(inputs):
            (folder / target / f"seed-{number}").write_bytes(content)


main(Path(sys.argv[1]))
