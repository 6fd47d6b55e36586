"""`RequestHandler`: what each request of a client leads to."""

from __future__ import annotations

import functools
from collections.abc import Callable

from .. import protocol
from ..errors import NotAllowed, QuestionRefused
from ..protocol import (
    Ask,
    Cancel,
    Delta,
    Done,
    EventsSince,
    Forget,
    Forgotten,
    Reply,
    StatusRequest,
    StreamsAdd,
    StreamsRemove,
)
from ..refusal import refusal
from .event_log import EventLog
from .guard import Sender
from .outbox import MakeReply
from .recent_status import RecentStatus
from .service import Service
from .shares import Shares

_FOR_MANAGERS = (StreamsAdd, StreamsRemove, Forget)
Send = Callable[[bytes, Reply | MakeReply, bool], None]


class RequestHandler:
    """Belongs to the server's thread.

    Args:
        answers_at_once: for all clients together.
        send: takes, from any thread, a client, a reply (or what makes it once the client takes it), and whether it
            belongs to an answer. Before it is sent, `lets_out` is asked.
    """

    def __init__(self, service: Service, events: EventLog, answers_at_once: int, send: Send) -> None:
        self._service, self._events, self._send = service, events, send
        self._shares = Shares(answers_at_once)
        self._status = RecentStatus(lambda request_id: self._service.status(request_id))

    def handle(self, client: bytes, data: bytes, sender: Sender) -> None:
        """Carries out a request, or sends its sender an error. Never raises."""
        request_id = ""
        try:
            request = protocol.decode_request(data)
            request_id = request.request_id
            if isinstance(request, _FOR_MANAGERS) and not sender.may_manage:
                raise NotAllowed('this key may ask, but not manage; a line role = "manage" in its file allows it')
            self._carry_out(client, request, sender.key)
        except Exception as exc:  # also a mistake of ours: it costs the sender an answer, and nobody else
            self.refuse(client, request_id, exc)

    def refuse(self, client: bytes, request_id: str, exc: Exception) -> None:
        """Sends a client an error."""
        self._send(client, refusal(request_id, exc, "the request"), False)

    def lets_out(self, client: bytes, reply: Reply | MakeReply, of_answer: bool) -> bool:
        """Whether a reply is to be sent. One of an answer is not, if that was given up; its last reply ends it."""
        if isinstance(reply, Done | Forgotten):
            self._status.expire()  # the next one shows what was done
        if not of_answer or callable(reply):
            return True
        wanted = self._shares.has(client, reply.request_id)
        if not isinstance(reply, Delta):
            self._shares.end(client, reply.request_id)
        return wanted

    def cancel_all(self, client: bytes) -> None:
        """Stops all answers of a client that is gone."""
        for request_id in self._shares.end_all(client):
            self._service.cancel((client, request_id))

    @property
    def answers(self) -> int:
        """How many are under way."""
        return len(self._shares)

    def _carry_out(self, client: bytes, request: protocol.Request, key: str) -> None:
        def on_reply(reply: Reply) -> None:
            self._send(client, reply, False)

        match request:
            case Ask():
                self._ask(client, request, key)
            case Cancel():
                self._service.cancel((client, request.request_id))
            case StatusRequest():
                self._send_later(client, self._status, request.request_id)
            case StreamsAdd():
                self._service.add_stream(request, on_reply)
            case StreamsRemove():
                self._service.remove_stream(request, on_reply)
            case Forget():
                self._service.forget(request, on_reply)
            case EventsSince():
                self._send_later(client, functools.partial(self._events.since, request.number), request.request_id)

    def _ask(self, client: bytes, request: Ask, key: str) -> None:
        if not request.question.strip():
            raise QuestionRefused("the question is empty")
        if len(request.question) > protocol.MAX_QUESTION_CHARACTERS:
            raise QuestionRefused(
                f"the question has {len(request.question)} characters; at most {protocol.MAX_QUESTION_CHARACTERS}"
            )
        if request.since_ns is not None and request.until_ns is not None and request.until_ns < request.since_ns:
            raise QuestionRefused("the time span ends before it begins")
        self._shares.check(client, request.request_id, key)
        self._service.ask(request, (client, request.request_id), lambda reply: self._send(client, reply, True))
        self._shares.add(client, request.request_id, key)  # in time: replies leave on this thread, after this

    def _send_later(self, client: bytes, make: Callable[[str], Reply], request_id: str) -> None:
        """Sends a reply that is only made when the client takes it."""

        def make_or_refuse() -> Reply:
            try:
                return make(request_id)
            except Exception as exc:
                return refusal(request_id, exc, "the request")

        self._send(client, make_or_refuse, False)
