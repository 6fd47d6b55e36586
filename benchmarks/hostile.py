"""`hostile_messages`: what a broken or ill-meaning client sends: valid, absurd, wrong, cut off, huge, or no message."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec

_LARGEST = 2**63 - 1
_HUGE_BYTES = (70_000, 131_072, 200_000)  # one that is refused by its size, and two that end the connection
# Values of MessagePack that fit nowhere: nil, infinity, not a number, 2**64 - 1, lengths without content, deep nesting,
# and text that is no UTF-8.
_WRONG_VALUES = (
    b"\xc0",
    b"\xcb\x7f\xf0" + bytes(6),
    b"\xcb\x7f\xf8" + bytes(6),
    b"\xcf" + b"\xff" * 8,
    b"\xdf" + b"\xff" * 4,
    b"\xdd" + b"\xff" * 4,
    b"\xdb" + b"\xff" * 4,
    b"\x91" * 200,
    b"\xd9\x03\xff\xfe\xfd",
)
_KINDS = ("Ask", "Cancel", "StatusRequest", "StreamsRemove", "StreamsAdd", "Forget", "EventsSince", "None")
_QUESTIONS = ("what?", "who came at 14:03?", "\x00", "\u202e" * 50, "<video>" * 9, "<|im_end|>" * 40, "a" * 4096, "")
_SOURCES: tuple[dict[str, Any], ...] = (
    {},
    {"url": "scene://?seed=1"},
    {"url": 5},
    {"url": "gopher://x"},
    {"url": "scene://?seed=1", "fps": 1e9},
    {"url": "scene://?seed=1", "keep_seconds": float("inf")},
    {"url": "scene://?seed=1&start=9999-12-31T00:00:00"},
)


def hostile_messages(rng: random.Random, stream: str) -> Iterator[list[bytes]]:
    """The frames of one message after the other, for ever.

    Args:
        stream: one that is watched. None of the messages, as they are made, removes it or forgets anything of it.
    """
    encode = msgspec.msgpack.Encoder().encode
    while True:
        if rng.random() < 0.002:
            yield [bytes(rng.choice(_HUGE_BYTES))]
            continue
        data = _spoilt(encode(_request(rng, stream)), rng)
        yield [data] * (1 if rng.random() < 0.9 else rng.randint(2, 40))


def _request(rng: random.Random, stream: str) -> dict[str, Any]:
    """A request that can be read, with values of which some make no sense."""
    kind = rng.choice(
        ("Ask", "Cancel", "StatusRequest", "StreamsRemove", "StreamsAdd", "Forget", "EventsSince", "None")
    )
    fields: dict[str, Any] = {"type": kind, "request_id": rng.choice((str(rng.randint(1, 10**6)), "", "x" * 65))}
    match kind:
        case "Ask":
            fields |= {
                "question": rng.choice(_QUESTIONS),
                "stream": rng.choice((stream, None, "x", "../../etc")),
                "since_ns": rng.choice((None, 0, _LARGEST)),
                "until_ns": rng.choice((None, 0, _LARGEST)),
                "time": rng.choice(("", "yesterday", "x" * 256)),
                "max_tokens": rng.choice((1, 3, 16, 0, -1)),
                "temperature": rng.choice((0.0, 5.0, 1e-300, float("inf"))),
                "top_p": rng.choice((1.0, 1e-300, 0.5)),
                "seed": rng.choice((0, _LARGEST)),
                "pictures": rng.random() < 0.5,
                "explain": rng.random() < 0.5,
            }
        case "StreamsRemove":
            fields["name"] = rng.choice(("nope", "", "x" * 70))
        case "StreamsAdd":
            fields |= {
                "name": rng.choice((stream, "BAD", "..", "a/b", "a" * 65, "a\n")),
                "source": rng.choice(_SOURCES),
            }
        case "Forget":
            fields |= {"stream": rng.choice(("nope", "")), "since_ns": rng.choice((None, 0)), "until_ns": 1}
        case "EventsSince":
            fields["number"] = rng.choice((_LARGEST, -1))
    return fields


def _spoilt(data: bytes, rng: random.Random) -> bytes:
    """With some bytes changed, cut out, put in or said twice; one in six stays as it is."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 4, 8))):
        at, how = rng.randrange(len(spoilt) + 1), rng.random()
        if how < 0.4 and at < len(spoilt):
            spoilt[at] = rng.randrange(256)
        elif how < 0.6:
            del spoilt[at : at + rng.randrange(1, 5)]
        elif how < 0.7:
            del spoilt[at:]
        elif how < 0.9:
            spoilt[at:at] = rng.choice(_WRONG_VALUES)
        else:
            spoilt[at:at] = spoilt[max(0, at - 20) : at]
    return bytes(spoilt)
