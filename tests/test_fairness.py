"""Nobody shuts out the others: shares of the answers, turns by client, and what waits for those who do not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from longwatch.daemon.answer.answer import Answer
from longwatch.daemon.answer.answers import Answers
from longwatch.daemon.errors import Busy, QuestionRefused
from longwatch.daemon.protocol import Delta, ErrorReply, Reply, decode_reply
from longwatch.daemon.server.outbox import Outbox, SendResult
from longwatch.daemon.server.shares import Shares


class Steps:
    """An answer of some steps, which notes when it makes one."""

    def __init__(self, name: str, steps: int, made: list[str]) -> None:
        self.cancelled, self.begun = False, True
        self.steps = self._steps(name, steps, made)

    def _steps(self, name: str, steps: int, made: list[str]) -> Iterator[Any]:
        for _ in range(steps):
            made.append(name)
            yield None


def test_clients_take_turns_and_then_their_answers() -> None:
    made: list[str] = []
    answers = Answers(lambda: None)
    for client, request_id in ((b"a", "a1"), (b"a", "a2"), (b"a", "a3"), (b"b", "b1")):
        answers.add((client, request_id), cast(Answer, Steps(request_id, 3, made)))
    while answers.step():
        pass
    assert made[:6] == ["a1", "b1", "a2", "b1", "a3", "b1"]
    assert sorted(made) == sorted(["a1", "a2", "a3", "b1"] * 3)
    assert (len(answers), answers._last_turns) == (0, {})


def test_who_comes_later_has_the_next_turn() -> None:
    made: list[str] = []
    answers = Answers(lambda: None)
    for number in range(8):
        answers.add((b"a", str(number)), cast(Answer, Steps("a", 100, made)))
    for _ in range(20):
        answers.step()
    answers.add((b"b", "1"), cast(Answer, Steps("b", 3, made)))
    for _ in range(6):
        answers.step()
    assert made[20:].count("b") == 3


def taken(shares: Shares, client: bytes) -> int:
    """How many answers a client gets that asks without end."""
    for number in range(1000):
        try:
            shares.check(client, str(number))
        except Busy:
            return number
        shares.add(client, str(number))
    raise AssertionError("no end")


@pytest.mark.parametrize(("places", "shares"), [(8, [4, 2, 2, 0]), (16, [8, 5, 3, 0]), (2, [1, 1, 0]), (1, [1, 0])])
def test_a_client_has_half_of_the_places_and_fewer_the_more_others_there_are(places: int, shares: list[int]) -> None:
    all_of_them = Shares(places)
    assert [taken(all_of_them, bytes([client])) for client in range(len(shares))] == shares


def test_connections_with_one_key_share_one_share() -> None:
    shares = Shares(8)
    for number in range(4):
        shares.check(bytes([number]), "1", "ann")
        shares.add(bytes([number]), "1", "ann")
    with pytest.raises(Busy, match="4 questions of yours are being answered"):
        shares.check(b"one more", "1", "ann")
    shares.check(b"another", "1", "bob")
    shares.end_all(bytes([0]))
    shares.check(b"one more", "1", "ann")


def test_a_place_is_free_again_once_its_answer_has_ended() -> None:
    shares = Shares(2)
    shares.add(b"a", "1")
    with pytest.raises(QuestionRefused, match="request 1 is being answered already"):
        shares.check(b"a", "1")
    with pytest.raises(Busy, match="1 questions of yours are being answered"):
        shares.check(b"a", "2")
    shares.end(b"a", "1")
    shares.check(b"a", "2")
    shares.add(b"a", "2")
    assert (shares.end_all(b"a"), len(shares)) == ({"2"}, 0)


class Line:
    """What clients take: so many messages each, until they read."""

    def __init__(self, room: int) -> None:
        self.room, self.taken, self.gone = room, dict[bytes, list[Reply]](), list[bytes]()
        self.outbox = Outbox(self.send, self.gone.append, client_bytes=10_000, all_bytes=25_000)

    def send(self, client: bytes, data: bytes) -> SendResult:
        if client == b"left":
            return SendResult.GONE
        mine = self.taken.setdefault(client, [])
        if len(mine) >= self.room:
            return SendResult.LATER
        mine.append(decode_reply(data))
        return SendResult.SENT


def delta(number: int, characters: int = 0) -> Delta:
    return Delta(request_id=str(number), text="x" * characters)


def test_replies_arrive_in_order_whether_they_waited_or_not() -> None:
    line = Line(room=3)
    for number in range(10):
        line.outbox.put(b"a", delta(number) if number % 2 else lambda number=number: delta(number))  # type: ignore[misc]
    assert len(line.taken[b"a"]) == 3
    line.room = 5
    line.outbox.send_waiting()
    line.room = 100
    line.outbox.send_waiting()
    assert line.taken[b"a"] == [delta(number) for number in range(10)]
    assert (bool(line.outbox), line.outbox._bytes) == (False, 0)


def test_a_reply_that_can_be_made_at_any_time_is_made_when_it_is_taken() -> None:
    made: list[int] = []

    def make() -> Reply:
        made.append(1)
        return delta(1, 5000)

    line = Line(room=0)
    for _ in range(5):
        line.outbox.put(b"a", make)
    assert (len(made), line.gone) == (1, [])  # only the first, to see whether it is taken


def test_who_reads_nothing_is_given_up_beyond_its_bytes_and_the_largest_beyond_those_of_all() -> None:
    line = Line(room=0)
    line.outbox.put(b"a", delta(1, 9_000))
    assert line.gone == []
    line.outbox.put(b"a", delta(2, 2_000))
    assert line.gone == [b"a"]
    for client, characters in ((b"b", 8_000), (b"c", 9_500), (b"d", 7_000)):
        line.outbox.put(client, delta(1, characters))
    line.outbox.put(b"e", delta(1, 3_000))
    assert line.gone == [b"a", b"c"]
    line.room = 1
    line.outbox.send_waiting()
    assert sorted(line.taken) == [b"a", b"b", b"c", b"d", b"e"]
    assert [len(line.taken[client]) for client in (b"b", b"c", b"d", b"e")] == [1, 0, 1, 1]
    assert line.outbox._bytes == 0


def test_who_has_left_is_told_of_and_nothing_is_kept_for_it() -> None:
    line = Line(room=1)
    line.outbox.put(b"left", delta(1))
    assert (line.gone, bool(line.outbox)) == ([b"left"], False)


def test_a_reply_too_large_to_be_sent_becomes_an_error() -> None:
    line = Line(room=5)
    line.outbox.put(b"a", delta(1, 33 << 20))
    (reply,) = line.taken[b"a"]
    assert isinstance(reply, ErrorReply)
    assert "at most 33554432 are read" in reply.message
