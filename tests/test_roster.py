"""Which streams there are after a restart."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.roster import Plan, Roster
from longwatch.memory.book import Book
from longwatch.memory.errors import StoreUnwritable

YARD = SourceConfig(url="scene://?seed=1", time_zone="Europe/Berlin")
GARDEN = SourceConfig(url="rtsp://camera/garden", fps=0.5)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    book = Book(tmp_path)
    yield book
    book.close()


def test_an_added_stream_is_watched_at_the_next_start_with_all_its_keys(book: Book) -> None:
    Roster(book, {}, []).watch("garden", GARDEN)
    assert Roster(book, {}, []).at_start == {"garden": Plan(GARDEN, watched=True)}


def test_a_removed_stream_is_only_remembered_and_keeps_its_time_zone(book: Book) -> None:
    roster = Roster(book, {}, [])
    roster.watch("yard", YARD)
    roster.unwatch("yard")
    assert Roster(book, {}, ["yard"]).at_start == {"yard": Plan(YARD, watched=False)}
    assert Roster(book, {}, []).at_start == {}, "a stream of which nothing is left"


def test_a_stream_taken_out_of_the_configuration_is_remembered_and_not_watched(book: Book) -> None:
    Roster(book, {"yard": YARD}, [])
    assert Roster(book, {}, ["yard"]).at_start == {"yard": Plan(YARD, watched=False)}


def test_the_configuration_decides_about_its_own_streams(book: Book) -> None:
    roster = Roster(book, {"yard": YARD}, [])
    roster.unwatch("yard")
    slower = SourceConfig(url="scene://?seed=1", fps=0.1)
    assert Roster(book, {"yard": slower}, ["yard"]).at_start == {"yard": Plan(slower, watched=True)}


def test_a_stream_of_a_store_without_a_roster_is_remembered(book: Book) -> None:
    plan = Roster(book, {}, ["old"]).at_start["old"]
    assert not plan.watched
    assert plan.source.time_zone == "UTC"


def test_a_forgotten_stream_is_no_more(book: Book) -> None:
    roster = Roster(book, {}, [])
    roster.watch("garden", GARDEN)
    roster.forget("garden")
    assert Roster(book, {}, []).at_start == {}


def test_what_another_version_kept_is_said_and_harms_no_other_stream(
    book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    Roster(book, {}, []).watch("garden", GARDEN)
    book.keep_stream("yard", b'{"source": {"url": "scene://", "from_the_future": 1}, "watch": true}')
    assert list(Roster(book, {}, ["yard"]).at_start) == ["garden", "yard"]
    assert not Roster(book, {}, ["yard"]).at_start["yard"].watched


def test_a_book_that_takes_nothing_keeps_no_camera_from_being_watched(book: Book, tmp_path: Path) -> None:
    full = resource.getrlimit(resource.RLIMIT_FSIZE)
    (file,) = tmp_path.glob("*/data.mdb")
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, full[1]))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        roster = Roster(book, {"yard": YARD}, [])
        assert roster.at_start == {"yard": Plan(YARD, watched=True)}
        with pytest.raises(StoreUnwritable, match="make room"):
            roster.watch("garden", GARDEN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, full)
        signal.signal(signal.SIGXFSZ, before)
    assert Roster(book, {}, []).at_start == {}
