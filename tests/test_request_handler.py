"""What each request leads to, without any socket."""

from __future__ import annotations

import pytest

from longwatch.daemon import protocol
from longwatch.daemon.protocol import (
    Ask,
    Cancel,
    Delta,
    Done,
    ErrorReply,
    EventsReply,
    EventsSince,
    Forget,
    Forgotten,
    Reply,
    Request,
    StatusReply,
    StatusRequest,
    StreamsAdd,
    StreamsRemove,
)
from longwatch.daemon.server.event_log import EventLog
from longwatch.daemon.server.guard import Sender
from longwatch.daemon.server.outbox import MakeReply
from longwatch.daemon.server.request_handler import RequestHandler

from .wire import EchoService, answer_end

ANYBODY, GUEST = Sender("", may_manage=True), Sender("a key", may_manage=False)


class Desk:
    """A handler, its service, and what it sends."""

    def __init__(self, answers_at_once: int = 8) -> None:
        self.service, self.events = EchoService(), EventLog()
        self.sent: list[tuple[bytes, Reply | MakeReply, bool]] = []
        self.handler = RequestHandler(self.service, self.events, answers_at_once, self._send)

    def handle(self, request: Request, client: bytes = b"ann", sender: Sender = ANYBODY) -> None:
        self.handler.handle(client, protocol.encode(request), sender)

    def replies(self) -> list[Reply]:
        """What was sent to anybody; what is made late is made now."""
        return [reply() if callable(reply) else reply for _, reply, _ in self.sent]

    def _send(self, client: bytes, reply: Reply | MakeReply, of_answer: bool) -> None:
        self.sent.append((client, reply, of_answer))


@pytest.mark.parametrize(
    "request_",
    [
        StreamsAdd(request_id="1", name="gate", source={}),
        StreamsRemove(request_id="1", name="yard"),
        Forget(request_id="1", stream="yard"),
    ],
)
def test_a_key_that_may_only_ask_changes_nothing(request_: Request) -> None:
    desk = Desk()
    desk.handle(request_, sender=GUEST)
    (reply,) = desk.replies()
    assert isinstance(reply, ErrorReply)
    assert reply.code == "not_allowed"
    assert list(desk.service.streams) == ["yard"]


def test_a_message_that_cannot_be_read_is_answered_with_an_error_without_an_id() -> None:
    desk = Desk()
    desk.handler.handle(b"ann", b"\xff", ANYBODY)
    (reply,) = desk.replies()
    assert isinstance(reply, ErrorReply)
    assert (reply.request_id, reply.code) == ("", "bad_message")


def test_a_status_is_made_when_it_is_sent_and_shows_what_was_done_before() -> None:
    desk = Desk()
    desk.handle(StatusRequest(request_id="1"))
    desk.handle(StreamsAdd(request_id="2", name="gate", source={"url": "a"}))
    before, done = desk.replies()
    assert isinstance(before, StatusReply)
    assert desk.handler.lets_out(b"ann", done, False)
    desk.handle(StreamsAdd(request_id="3", name="door", source={"url": "a"}))
    desk.handler.lets_out(b"ann", Done(request_id="3"), False)
    desk.handle(StatusRequest(request_id="4"))
    after = desk.replies()[-1]
    assert isinstance(after, StatusReply)
    assert [stream.name for stream in after.streams] == ["yard", "gate", "door"]


def test_events_are_those_known_when_the_reply_is_made() -> None:
    desk = Desk()
    desk.handle(EventsSince(request_id="1", number=0))
    desk.events.add("yard", "block", 0, 0, "late")
    list(desk.events.take_new())
    (reply,) = desk.replies()
    assert isinstance(reply, EventsReply)
    assert [event.text for event in reply.events] == ["late"]


def test_an_answer_ends_with_its_last_reply_and_nothing_of_it_is_sent_after_that() -> None:
    desk = Desk()
    desk.handle(Ask(request_id="1", question="brood"))
    assert desk.handler.answers == 1
    assert desk.handler.lets_out(b"ann", Delta(request_id="1", text="a"), True)
    assert desk.handler.lets_out(b"ann", answer_end("1", "a"), True)
    assert desk.handler.answers == 0
    assert not desk.handler.lets_out(b"ann", Delta(request_id="1", text="b"), True)
    desk.handler.cancel_all(b"ann")


def test_a_client_that_is_gone_has_its_answers_cancelled_and_the_others_keep_theirs() -> None:
    desk = Desk()
    desk.handle(Ask(request_id="1", question="brood"), b"ann")
    desk.handle(Ask(request_id="1", question="brood"), b"bob")
    desk.handler.cancel_all(b"ann")
    assert {client: event.is_set() for (client, _), event in desk.service.cancelled.items()} == {
        b"ann": True,
        b"bob": False,
    }
    assert not desk.handler.lets_out(b"ann", Delta(request_id="1", text="a"), True)
    desk.handle(Cancel(request_id="1"), b"bob")
    assert desk.service.cancelled[b"bob", "1"].is_set()


def test_a_question_beyond_those_at_once_is_refused_and_never_reaches_the_service() -> None:
    desk = Desk(answers_at_once=1)
    desk.handle(Ask(request_id="1", question="brood"), b"ann")
    desk.handle(Ask(request_id="2", question="and I?"), b"bob")
    (reply,) = (reply for reply in desk.replies() if reply.request_id == "2")
    assert isinstance(reply, ErrorReply)
    assert reply.code == "busy"
    assert [request.request_id for request in desk.service.asked] == ["1"]
    desk.handler.cancel_all(b"ann")


def test_what_is_forgotten_is_answered_with_how_much() -> None:
    desk = Desk()
    desk.handle(Forget(request_id="1", stream="yard"))
    assert desk.replies() == [Forgotten(request_id="1", blocks=0)]
