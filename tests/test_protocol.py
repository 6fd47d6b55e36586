"""Messages and their bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longwatch.daemon import protocol
from longwatch.daemon.errors import BadMessage
from longwatch.daemon.protocol import (
    Ask,
    Cancel,
    Delta,
    Done,
    ErrorReply,
    Event,
    EventsReply,
    EventsSince,
    Reply,
    Request,
    StatusRequest,
    StreamsAdd,
    StreamsRemove,
)

from .wire import answer_end, status_reply

REQUESTS: list[Request] = [
    Ask(request_id="1", question="war die Tür offen? ☂", stream="yard", since_ns=0, until_ns=2**63 - 1, pictures=False),
    Cancel(request_id="2"),
    StatusRequest(request_id="3"),
    StreamsAdd(request_id="4", name="front-door", source={"url": "rtsp://x", "fps": 0.5}),
    StreamsRemove(request_id="5", name="front-door"),
    EventsSince(request_id="6", number=2**60),
]
EVENT = Event(number=9, stream="yard", kind="gap", start_ns=1, end_ns=2, text="refused")
REPLIES: list[Reply] = [
    Delta(request_id="1", text="yes"),
    answer_end("1", "yes", bytes(range(256))),
    ErrorReply(request_id="", code="busy", message="later"),
    Done(request_id="1"),
    status_reply("1", {"yard": {"url": "scene://"}}),
    EventsReply(request_id="1", events=[EVENT], newest=9, lost=True),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda m: type(m).__name__)
def test_a_request_comes_back_from_its_bytes(request_: Request) -> None:
    assert protocol.decode_request(protocol.encode(request_)) == request_


@pytest.mark.parametrize("reply", REPLIES, ids=lambda m: type(m).__name__)
def test_a_reply_comes_back_from_its_bytes(reply: Reply) -> None:
    assert protocol.decode_reply(protocol.encode(reply)) == reply


def test_an_event_comes_back_from_its_bytes() -> None:
    assert protocol.decode_event(protocol.encode(EVENT)) == EVENT


@pytest.mark.parametrize("reply", REPLIES, ids=lambda m: type(m).__name__)
def test_a_reply_is_no_request_and_no_request_a_reply(reply: Reply) -> None:
    with pytest.raises(BadMessage):
        protocol.decode_request(protocol.encode(reply))
    with pytest.raises(BadMessage):
        protocol.decode_reply(protocol.encode(REQUESTS[0]))


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda m: type(m).__name__)
def test_every_truncated_request_is_a_bad_message(request_: Request) -> None:
    whole = protocol.encode(request_)
    for length in range(len(whole)):
        with pytest.raises(BadMessage):
            protocol.decode_request(whole[:length])


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_a_bad_message_and_nothing_else(data: bytes) -> None:
    with pytest.raises(BadMessage):
        protocol.decode_request(data)


@pytest.mark.parametrize(
    "field",
    [
        {"max_tokens": 0},
        {"max_tokens": 10**9},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 5.1},
        {"top_p": 0.0},
        {"top_p": float("nan")},
        {"top_p": float("inf")},
        {"time": "x" * 257},
        {"stream": "x" * 257},
        {"seed": -1},
        {"since_ns": -1},
        {"until_ns": 2**63},
        {"request_id": ""},
        {"request_id": "x" * 65},
        {"question": 3},
        {"question": None},
    ],
    ids=str,
)
def test_a_field_out_of_range_is_a_bad_message_that_names_it(field: dict[str, object]) -> None:
    content = {"type": "Ask", "request_id": "1", "question": "q"} | field
    with pytest.raises(BadMessage, match=next(iter(field))):
        protocol.decode_request(msgspec.msgpack.encode(content))


@pytest.mark.parametrize("name", ["yard\n", "\nyard", "yard\0", "Yard", "", "a" * 65, "yard.1", "../yard", "ÿard"])
def test_a_name_that_no_stream_may_have_is_a_bad_message(name: str) -> None:
    content = {"type": "StreamsAdd", "request_id": "1", "name": name, "source": {}}
    with pytest.raises(BadMessage, match="the message is wrong: names of streams are of a-z, 0-9, _ and -, 64 at most"):
        protocol.decode_request(msgspec.msgpack.encode(content))


def test_nesting_without_end_is_a_bad_message() -> None:
    bomb = protocol.encode(StreamsAdd(request_id="1", name="a", source={"url": 1}))[:-1] + b"\x91" * 60_000 + b"\xc0"
    with pytest.raises(BadMessage):
        protocol.decode_request(bomb)


def test_what_the_other_side_would_not_read_is_not_even_sent() -> None:
    with pytest.raises(BadMessage, match=f"at most {protocol.MAX_REQUEST_BYTES} are read"):
        protocol.encode(Ask(request_id="1", question="a" * 100_000))
    with pytest.raises(BadMessage, match=f"at most {protocol.MAX_REPLY_BYTES} are read"):
        protocol.encode(answer_end("1", "", bytes(protocol.MAX_REPLY_BYTES)))
