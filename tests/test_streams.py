"""Streams: each has its turn, one that fails keeps nobody waiting, and a name that means none is explained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.errors import CaptureError, StreamExists, StreamUnknown
from longwatch.daemon.protocol import Done, StreamsRemove
from longwatch.daemon.roster import Roster
from longwatch.daemon.stream.inbox import Inbox
from longwatch.daemon.stream.stream import Stream
from longwatch.daemon.stream_orders import RemoveStream
from longwatch.daemon.streams import Streams
from longwatch.daemon.watchlist import WatchList
from longwatch.memory.book import Book
from longwatch.memory.errors import StoreUnwritable
from longwatch.memory.tiers import Tiers

YARD, GATE = SourceConfig(url="scene://?seed=1"), SourceConfig(url="scene://?seed=2")


class Turns:
    """Stands in for a stream: notes its turns."""

    def __init__(self, name: str, taken: list[str], *, watched: bool = True, blocks: int = 1) -> None:
        self.name, self.watched, self.taken = name, watched, taken
        self.retriever = SimpleNamespace(index=range(blocks))
        self.fails = self.idle = self.stopped = False
        self.error = ""

    def step(self) -> bool:
        self.taken.append(self.name)
        if self.fails:
            raise StoreUnwritable("the disk is full")
        return not self.idle

    def note_error(self, text: str) -> None:
        self.error = text

    def start(self) -> None:
        if self.fails:
            raise RuntimeError("can't start new thread")

    def stop_soon(self) -> None:
        self.stopped = True

    def watch(self, config: SourceConfig) -> None:
        self.watched = True

    def unwatch(self) -> Inbox:
        self.watched = False
        return cast(Inbox, SimpleNamespace(stop=self._stop))

    def _stop(self) -> None:
        if self.fails:
            raise OSError("Too many open files")
        self.stopped = True


class House:
    """Streams and their watch list, over a real book."""

    def __init__(self, book: Book) -> None:
        self.book, self.taken = book, list[str]()
        self.roster = Roster(book, {}, [])
        self.streams = Streams(cast(Tiers, None), self.roster, lambda: None)
        self.watch_list = WatchList(self.streams, self.roster, self._make)
        self.fails: set[str] = set()

    def add(self, name: str, *, watched: bool = True) -> Turns:
        turns = Turns(name, self.taken, watched=watched)
        self.streams.add(cast(Stream, turns))
        return turns

    def _make(self, name: str, source: SourceConfig, watched: bool) -> Stream:
        if name in self.fails:
            raise CaptureError("no source can be made of it")
        return cast(Stream, Turns(name, self.taken, watched=watched))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    book = Book(tmp_path)
    yield House(book)
    book.close()


def test_streams_have_their_turns_in_rotation_and_those_not_watched_none(house: House) -> None:
    for name, watched in (("a", True), ("b", False), ("c", True), ("d", True)):
        house.add(name, watched=watched)
    for _ in range(6):
        assert house.streams.step()
    assert house.taken == ["a", "c", "d", "a", "c", "d"]


def test_a_stream_with_nothing_to_do_or_with_an_error_leaves_its_turn_to_the_next(house: House) -> None:
    idle, failing, _ = house.add("a"), house.add("b"), house.add("c")
    idle.idle = failing.fails = True
    assert house.streams.step()
    assert house.taken == ["a", "b", "c"]
    assert failing.error == "the disk is full"


def test_without_a_name_the_only_watched_stream_is_meant(house: House) -> None:
    house.add("old", watched=False)
    house.add("yard")
    assert house.streams.find(None).name == "yard"
    assert house.streams.find("old").name == "old"
    house.add("gate")
    with pytest.raises(StreamUnknown, match=r"gate, old \(not watched\), yard"):
        house.streams.find(None)
    with pytest.raises(StreamUnknown, match=r"no stream door; there are: gate, old \(not watched\), yard"):
        house.streams.find("door")


def test_a_stream_that_is_neither_watched_nor_remembered_is_taken_out_for_good(house: House) -> None:
    house.watch_list.watch("yard", YARD)
    (stream,) = house.streams.all
    stream.retriever.index = range(0)  # type: ignore[assignment]
    house.watch_list.unwatch("yard")
    assert (house.streams.all, house.book.streams(), house.streams.step()) == ([], {}, False)


def test_a_stream_may_be_watched_again_only_once_its_source_has_ended(house: House) -> None:
    house.watch_list.watch("yard", YARD)
    house.watch_list.unwatch("yard")
    with pytest.raises(StreamExists, match="still being stopped"):
        house.watch_list.watch("yard", GATE)
    house.watch_list.on_stopped("yard")
    house.watch_list.watch("yard", GATE)
    assert house.streams.watched == ["yard"]
    with pytest.raises(StreamExists, match="a stream yard is there already"):
        house.watch_list.watch("yard", GATE)


def test_removing_a_stream_stops_its_source_and_then_its_name_is_free(house: House) -> None:
    house.watch_list.watch("yard", YARD)
    (stream,) = house.streams.all
    order = RemoveStream(house.watch_list, StreamsRemove(request_id="1", name="yard"), lambda _: None)
    order.run()
    assert not cast(Turns, stream).stopped
    assert order.finish() == Done(request_id="1")
    assert cast(Turns, stream).stopped
    house.watch_list.watch("yard", GATE)


def test_a_name_is_free_again_though_its_source_could_not_be_stopped(house: House) -> None:
    house.watch_list.watch("yard", YARD)
    (stream,) = house.streams.all
    cast(Turns, stream).fails = True
    order = RemoveStream(house.watch_list, StreamsRemove(request_id="1", name="yard"), lambda _: None)
    order.run()
    with pytest.raises(OSError, match="Too many open files"):
        order.finish()
    house.watch_list.watch("yard", GATE)


def test_a_stream_that_cannot_be_opened_leaves_no_trace(house: House) -> None:
    house.fails.add("yard")
    with pytest.raises(CaptureError):
        house.watch_list.watch("yard", YARD)
    assert (house.streams.all, house.book.streams()) == ([], {})


def test_a_stream_that_was_added_before_and_cannot_be_opened_is_only_remembered(house: House) -> None:
    Roster(house.book, {}, []).watch("gate", GATE)
    later = House(house.book)
    made: list[bool] = []

    def make(name: str, source: SourceConfig, watched: bool) -> Stream:
        made.append(watched)
        if watched:
            raise CaptureError("no source can be made of it")
        return cast(Stream, Turns(name, [], watched=False))

    WatchList(later.streams, later.roster, make).open_all()
    assert made == [True, False]
    assert ([stream.name for stream in later.streams.all], later.streams.watched) == (["gate"], [])


def test_a_stream_of_the_configuration_that_cannot_be_opened_ends_the_start(house: House) -> None:
    roster = Roster(house.book, {"yard": YARD}, [])
    house.fails.add("yard")
    with pytest.raises(CaptureError):
        WatchList(house.streams, roster, house._make).open_all()
