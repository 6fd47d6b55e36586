"""Orders: each is answered once, whatever happens to it, and nobody waits for the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from longwatch.daemon.errors import Busy, Stopping, StreamUnknown
from longwatch.daemon.orders import Order, Orders
from longwatch.daemon.protocol import Done, ErrorReply, Reply
from longwatch.memory.errors import StoreUnwritable


class Plain(Order):
    """Does what it was given."""

    def __init__(
        self,
        emit: Callable[[Reply], None],
        run: Callable[[], None] = lambda: None,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("1", emit)
        self._run, self._finish = run, finish

    def run(self) -> None:
        self._run()

    def finish(self) -> Reply:
        self._finish()
        return Done(request_id=self.request_id)


class Long(Plain):
    long = True


def failing(exc: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise exc

    return fail


@pytest.mark.parametrize("part", ["run", "finish"])
@pytest.mark.parametrize(
    ("exc", "code", "sentence"),
    [
        (StreamUnknown("no stream a"), "stream_unknown", "no stream a"),
        (StoreUnwritable("the disk is full"), "memory", "the disk is full"),
        (OverflowError("cannot convert float infinity"), "internal", "the order failed; the daemon's log says why"),
        (TimeoutError(), "internal", "the order failed; the daemon's log says why"),
    ],
)
def test_whatever_an_order_raises_is_its_one_reply_and_the_next_is_carried_out(
    part: str, exc: Exception, code: str, sentence: str
) -> None:
    replies: list[Reply] = []
    orders = Orders(lambda: None)
    orders.put(Plain(replies.append, **{part: failing(exc)}))
    orders.put(Plain(replies.append))
    while orders.run_next():
        pass
    assert replies == [ErrorReply(request_id="1", code=code, message=sentence), Done(request_id="1")]


def test_what_takes_long_is_done_beside_the_engine() -> None:
    let_go, replies, done = threading.Event(), list[Reply](), threading.Event()
    orders = Orders(lambda: None)
    orders.put(Long(lambda reply: (replies.append(reply), done.set())[0], finish=lambda: _wait(let_go)))
    orders.put(Plain(replies.append))
    while orders.run_next():
        pass
    assert len(replies) == 1  # that of the second
    let_go.set()
    assert done.wait(5)
    assert len(replies) == 2


def _wait(event: threading.Event) -> None:
    assert event.wait(5)


def test_giving_an_order_wakes_the_engine_and_waits_for_nothing() -> None:
    woken = threading.Event()
    Orders(woken.set).put(Plain(lambda _: None))
    assert woken.is_set()


def test_more_orders_than_can_be_carried_out_are_refused_until_some_are_done() -> None:
    replies: list[Reply] = []
    orders = Orders(lambda: None)
    for _ in range(64):
        orders.put(Plain(replies.append))
    with pytest.raises(Busy, match="64 orders are being carried out"):
        orders.put(Plain(replies.append))
    orders.run_next()
    orders.put(Plain(replies.append))
    while orders.run_next():
        pass
    assert len(replies) == 65


def test_orders_that_wait_when_the_daemon_stops_are_told_so() -> None:
    replies: list[Reply] = []
    orders = Orders(lambda: None)
    orders.put(Plain(replies.append))
    orders.put(Plain(replies.append))
    orders.refuse_all(Stopping("the daemon is stopping"))
    assert replies == [ErrorReply(request_id="1", code="stopping", message="the daemon is stopping")] * 2
    assert not orders.run_next()
