"""The wire: every message between client and daemon, as MessagePack. Nothing else knows their bytes.

A client sends one frame, a `Request`. The daemon answers with one frame, a `Reply` that carries the request's id. An
`Ask` is answered by any number of `Delta` and then one `AnswerEnd`, or by an `ErrorReply`. Events are numbered and
published on a socket of their own. Times are UTC nanoseconds.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
import zmq
from msgspec import Meta

from .errors import BadMessage
from .reach import OWN

MAX_REQUEST_BYTES = 64 << 10
MAX_REPLY_BYTES = 32 << 20
MAX_QUESTION_CHARACTERS = 4096
MAX_TIME_CHARACTERS = 256
NAMES = "names of streams are of a-z, 0-9, _ and -, 64 at most"
DEFAULT_ADDRESS = DEFAULT_EVENTS_ADDRESS = OWN

RequestId = Annotated[str, Meta(min_length=1, max_length=64)]
StreamName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
Naming = Annotated[str, Meta(max_length=256)]  # may turn out not to be the name of a stream
TimeNs = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # 1970 to 2262


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A question about a stream; without a name, about the only one.

    Attributes:
        since_ns, until_ns: the time that it is about, whatever its words say.
        time: that time in words, as "yesterday at 14:05", if it is not given in numbers.
    """

    request_id: RequestId
    question: str
    stream: Naming | None = None
    since_ns: TimeNs | None = None
    until_ns: TimeNs | None = None
    time: Annotated[str, Meta(max_length=MAX_TIME_CHARACTERS)] = ""
    max_tokens: Annotated[int, Meta(ge=1, le=4096)] = 128
    temperature: Annotated[float, Meta(ge=0, le=5)] = 0.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    pictures: bool = True
    explain: bool = False


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stops the answer to an `Ask` of the same id."""

    request_id: RequestId


class StatusRequest(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Asks for the state of the daemon and its streams."""

    request_id: RequestId


class StreamsAdd(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Watches one more stream, with the keys of a `[streams.NAME]` table."""

    request_id: RequestId
    name: StreamName
    source: dict[str, Any]


class StreamsRemove(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stops watching a stream. Its memory stays."""

    request_id: RequestId
    name: Naming


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Forgets what a stream saw in a time, to the last byte. None leaves an end open."""

    request_id: RequestId
    stream: Naming
    since_ns: TimeNs | None = None
    until_ns: TimeNs | None = None


class EventsSince(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Asks for the events after a number, as far as the daemon still has them."""

    request_id: RequestId
    number: Annotated[int, Meta(ge=0, le=2**63 - 1)]


Request = Ask | Cancel | StatusRequest | StreamsAdd | StreamsRemove | Forget | EventsSince


class Delta(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The next piece of an answer."""

    request_id: str
    text: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A block that was in the model's context when it answered.

    Attributes:
        use: its share of the retrieval heads' attention among all blocks in the context while the answer was
            decoded, 0 to 1. (With `rekv`, the share of the layers that recalled it.)
        score: its share of the retriever's score among the blocks that were ranked; 0 in the window, and if all
            blocks of a time were taken.
        origin: `recalled` from the memory, or in the `window`.
        picture: JPEG; empty if none was asked for.
    """

    block_id: int
    start_ns: int
    end_ns: int
    use: float
    score: float
    origin: str
    picture: bytes = b""


class GapSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A time with no video."""

    start_ns: int
    end_ns: int


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A block that was ranked or was in the context.

    Attributes:
        score, use: as in `Evidence`.
        tier: `ram`, `disk` or `window`, from where it came into the context; empty if it did not.
    """

    block_id: int
    start_ns: int
    end_ns: int
    score: float
    tier: str
    use: float


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the work on an answer, and the milliseconds that it took."""

    name: str
    ms: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer came about.

    Attributes:
        words: the words of the question that were read as a time.
        event: the event that was looked up to know the time; empty if the question names none.
        event_since_ns, event_until_ns: when it was; None if nothing was found.
        question: as the model was asked it, with that time in place of the event.
        present: the question says that it is about now, so nothing was recalled.
        parts: the answers about the parts of a time that one context cannot hold.
        candidates: in the order of their rank, then those of the window.
    """

    words: str
    event: str
    event_since_ns: int | None
    event_until_ns: int | None
    question: str
    present: bool
    parts: list[str]
    candidates: list[Candidate]
    steps: list[Step]


class AnswerEnd(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The whole answer and what it rests on, the best evidence first.

    Attributes:
        since_ns, until_ns: the time that the question was understood to be about; None if it is open.
        gaps: times with no video in it.
        recalled: ids of the blocks brought back, in time order.
        confidence: the chance that the text is right, 0 to 1, as measured on rendered yards. For a model without such a
            measurement, the geometric mean of its tokens' probabilities. None if the model was not asked.
        stopped: `end`, `length`, `cancelled`, or `no video`: there is none of that time, and the model was not asked.
        explanation: None unless one was asked for.
    """

    request_id: str
    text: str
    stream: StreamName
    evidence: list[Evidence]
    since_ns: int | None
    until_ns: int | None
    gaps: list[GapSpan]
    recalled: list[int]
    tokens: int
    ttft_ms: float
    total_ms: float
    stopped: str
    confidence: float | None = None
    explanation: Explanation | None = None


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What went wrong, in one sentence."""

    request_id: str
    code: str
    message: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The request was carried out."""

    request_id: str


class Forgotten(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Blocks are gone from memory, index and files; how many."""

    request_id: str
    blocks: int


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as it is now. Credentials in its address are masked."""

    name: str
    url: str
    state: str
    last_error: str
    frames: int
    dropped: int
    restarts: int
    blocks: int
    durable_id: int
    first_ns: int
    last_ns: int
    gaps: list[GapSpan]
    time_zone: str


class DayDropping(msgspec.Struct, frozen=True, kw_only=True):
    """A day of a stream that will be forgotten: why, and when at the earliest."""

    stream: str
    day: str
    reason: str
    at_ns: int


class StatusReply(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The daemon as it is now."""

    request_id: str
    version: str
    model: str
    device: str
    retriever: str
    uptime_seconds: float
    threads: dict[str, bool]
    restarts: int
    streams: list[StreamStatus]
    answers_running: int
    ram_bytes: int
    ram_blocks: int
    disk_bytes: int
    queued_blocks: int
    damaged_blocks: int
    process_bytes: int
    store_error: str
    dropping: list[DayDropping] = []


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something happened: `block`, `gap` or `state`.

    Numbers rise by one. When the daemon is started again, they go on above all earlier ones.
    """

    number: int
    stream: str
    kind: str
    start_ns: int
    end_ns: int
    text: str


class EventsReply(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The events asked for, the number of the `newest` one, and whether some of those asked for are `lost`."""

    request_id: str
    events: list[Event]
    newest: int
    lost: bool


Reply = Delta | AnswerEnd | ErrorReply | Done | Forgotten | StatusReply | EventsReply

_Message = TypeVar("_Message")
_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def is_stream_name(name: str) -> bool:
    """Whether a stream may have this name."""
    try:
        msgspec.convert(name, StreamName)
    except msgspec.ValidationError:
        return False
    return True


def notice_the_dead(socket: zmq.Socket[bytes]) -> None:
    """Lets the kernel find out, within about twenty seconds, that the other side's host or network is gone.

    ZeroMQ's own heartbeats cannot be used: if one side has stopped reading, libzmq 4.3.5 ends its whole process when
    their time is over (`Assertion failed: !_io_error`, `_input_stopped`; zeromq/libzmq issues 4364 and 4767).
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 3)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.TCP_MAXRT, 20_000)


def encode(message: Request | Reply | Event) -> bytes:
    """The bytes of a message.

    Raises:
        BadMessage: it is larger than what the other side reads.
    """
    data = _encoder.encode(message)
    noun, limit = ("request", MAX_REQUEST_BYTES) if isinstance(message, Request) else ("reply", MAX_REPLY_BYTES)
    _check_size(noun, data, limit)
    return data


def decode_request(data: bytes) -> Request:
    """The request that a client sent.

    Raises:
        BadMessage: it is not a request, or a field is out of range.
    """
    _check_size("request", data, MAX_REQUEST_BYTES)
    return _decode(_request_decoder, data)


def decode_reply(data: bytes) -> Reply:
    """The reply that the daemon sent.

    Raises:
        BadMessage: it is not a reply; the daemon may be of another version.
    """
    _check_size("reply", data, MAX_REPLY_BYTES)
    return _decode(_reply_decoder, data)


def decode_event(data: bytes) -> Event:
    """The event that the daemon published.

    Raises:
        BadMessage: it is not an event.
    """
    return _decode(_event_decoder, data)


def _check_size(noun: str, data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise BadMessage(f"the {noun} has {len(data)} bytes; at most {limit} are read")


def _decode(decoder: msgspec.msgpack.Decoder[_Message], data: bytes) -> _Message:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as exc:
        what = NAMES if "matching regex" in str(exc) else str(exc)  # only names have one
        raise BadMessage(f"the message is wrong: {what}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadMessage(f"this is not a message of Longwatch: {exc}") from exc
