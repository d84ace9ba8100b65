#!/usr/bin/env python3
"""Fixtures of `/segment/stream` (docs/designs/038-streaming-wire.md): what is signed and what travels, by a second encoder.

`streams.py` writes fixtures/streams.json; `streams.py --check` says whether it is what it would write.
"""
import json
import sys

from curve import address, checksum, keccak, sign
from fixtures import HERE, word

SENDER = int.from_bytes(b"\x01" * 32, "big")
ORCHESTRATOR = int.from_bytes(b"\x02" * 32, "big")
MEDIA = b"a segment of video"
RENDITIONS = [(b"rend0", 511200), (b"rend1", 230400)]


def domain(name):
    return keccak(b"streamflow/segment-stream/v1/" + name)


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def number_field(field, number):
    return varint(field << 3) + varint(number)


def bytes_field(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def profile(name, width, height, bitrate):
    message = bytes_field(16, name) + number_field(17, width) + number_field(18, height) + number_field(19, bitrate)
    return varint(len(message)) + message


def frame(kind, payload):
    return bytes([kind]) + len(payload).to_bytes(4, "big") + payload


def streams():
    """What a key of 32 bytes of 1 sends, and what one of 32 bytes of 2 answers."""
    profiles = profile(b"240p", 426, 240, 600000) + profile(b"180p", 320, 180, 300000)
    settings = keccak(b"streamflow/settings/v1" + profiles)
    head = keccak(
        domain(b"head") + keccak(b"movie") + word(1234) + word(2000) + settings + keccak(b"deadbeef") + keccak(b"CgEB")
    )
    length, hashed = len(MEDIA), keccak(MEDIA)
    trailer = keccak(domain(b"trailer") + head + word(length) + hashed)
    signed_trailer = sign(SENDER, trailer)
    lines = b"".join(keccak(data) + word(len(data)) + word(pixels) for data, pixels in RENDITIONS)
    result = keccak(domain(b"result") + trailer + word(len(RENDITIONS)) + lines)
    signed_result = sign(ORCHESTRATOR, result)
    told = b"".join(
        bytes_field(1, bytes_field(1, keccak(data)) + number_field(2, len(data)) + number_field(3, pixels))
        for data, pixels in RENDITIONS
    )
    refusal = bytes_field(1, b"StreamTrailerWrong") + bytes_field(2, b"18 bytes") + bytes_field(3, b"19 bytes")
    failure = bytes_field(1, b"the trailer is not of what came") + bytes_field(2, refusal) + number_field(3, 741600)
    return {
        "sender": checksum(address(SENDER)),
        "orchestrator": checksum(address(ORCHESTRATOR)),
        "settings": settings.hex(),
        "head": head.hex(),
        "head signature": sign(SENDER, head).hex(),
        "trailer": trailer.hex(),
        "trailer signature": signed_trailer.hex(),
        "result": result.hex(),
        "result signature": signed_result.hex(),
        "upload": (frame(1, MEDIA) + frame(2, length.to_bytes(8, "big") + hashed + signed_trailer)).hex(),
        "unsigned trailer": frame(2, length.to_bytes(8, "big") + hashed).hex(),
        "answer": (
            frame(16, b"\0rend0") + frame(16, b"\1rend1") + frame(17, told + bytes_field(2, signed_result))
        ).hex(),
        "failure": frame(18, failure).hex(),
    }


def main():
    text = json.dumps(streams(), indent=1) + "\n"
    path = HERE / "streams.json"
    if sys.argv[1:] == ["--check"]:
        if not path.exists() or path.read_text() != text:
            sys.exit("streams.json is not what streams.py writes")
        return
    path.write_text(text)


if __name__ == "__main__":
    main()
