"""The store's book: marks that only rise, what is to be erased, and a file that is broken, unreadable or foreign."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from longwatch.memory.book import FOLDER, Book, Erasure
from longwatch.memory.errors import StoreUnreadable, UnknownFormat

DATA = Path(FOLDER) / "data.mdb"


def test_marks_rise_and_never_fall_also_over_a_restart(tmp_path: Path) -> None:
    book = Book(tmp_path)
    assert book.is_new
    for number in (5, 3, 9, 2):
        book.raise_last_id("yard", number)
        book.note_seen("yard", number * 10)
        book.note_stored({("yard", "2026-03-02"): number, ("door", "2026-03-01"): 1})
    book.close()
    book = Book(tmp_path)
    assert not book.is_new
    assert (book.last_id("yard"), book.last_id("door"), book.seen_ns("yard")) == (9, 0, 90)
    assert book.stored_ns() == {("yard", "2026-03-02"): 9, ("door", "2026-03-01"): 1}
    book.forget_day("yard", "2026-03-02")
    assert list(book.stored_ns()) == [("door", "2026-03-01")]
    book.close()


def test_an_erasure_stays_until_it_is_ended(tmp_path: Path) -> None:
    book = Book(tmp_path)
    first = book.add_erasure("yard", 0, 2**63 - 1, 17)
    second = book.add_erasure("door", 5, 8, 4)
    book.close()
    book = Book(tmp_path)
    assert book.erasures() == [first, second]
    book.end_erasure(first)
    assert book.erasures() == [second]
    book.close()


def test_an_erasure_means_what_touches_its_time_and_was_there_already() -> None:
    erasure = Erasure(1, "yard", 100, 200, last_id=7)
    assert erasure.covers(7, 200, 300)
    assert erasure.covers(1, 0, 100)
    assert not erasure.covers(7, 201, 300)
    assert not erasure.covers(7, 0, 99)
    assert not erasure.covers(8, 150, 150)


def test_streams_and_notes_are_kept_as_they_were_given(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.keep_stream("yard", b"\x00any bytes")
    book.keep_stream("door", b"1")
    book.keep_stream("door", b"2")
    book.drop_stream("yard")
    book.drop_stream("never there")
    book.keep_note("yard", "clip", b"of March")
    book.close()
    book = Book(tmp_path)
    assert book.streams() == {"door": b"2"}
    assert (book.note("yard", "clip"), book.note("door", "clip")) == (b"of March", b"")
    book.close()


def test_a_broken_book_is_set_aside_and_begun_again(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.raise_last_id("yard", 5)
    book.close()
    (tmp_path / DATA).write_bytes(b"no database" * 1000)
    book = Book(tmp_path)
    assert "set aside as" in book.set_aside
    assert book.last_id("yard") == 0
    assert list((tmp_path / FOLDER).glob("data.mdb.broken-*"))
    book.close()


def test_a_book_of_another_lmdb_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    Book(tmp_path).close()
    data = bytearray((tmp_path / DATA).read_bytes())
    for page in (0, 4096):
        data[page + 20] = 2
    (tmp_path / DATA).write_bytes(data)
    with pytest.raises(UnknownFormat, match="is of LMDB format 2, this version reads 1"):
        Book(tmp_path)
    assert (tmp_path / DATA).read_bytes() == data


def test_a_book_that_cannot_be_read_now_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / DATA).mkdir(parents=True)  # reading a folder fails for every user
    with pytest.raises(StoreUnreadable, match="cannot be read: Is a directory"):
        Book(tmp_path)
    assert (tmp_path / DATA).is_dir()


def test_many_threads_write_side_by_side(tmp_path: Path) -> None:
    book, interval = Book(tmp_path), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(name: str) -> None:
        for number in range(1, 20):
            book.raise_last_id(name, number)
            book.end_erasure(book.add_erasure(name, 0, 1, number))
            assert book.last_id(name) == number
            book.keep_stream(name, b"")
            assert name in book.streams()

    threads = [threading.Thread(target=work, args=(f"stream-{n}",)) for n in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert {name: book.last_id(name) for name in book.streams()} == {f"stream-{n}": 19 for n in range(4)}
    assert book.erasures() == []
    book.close()


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom longwatch.memory.book import Book\n"
        f"book = Book(Path({str(tmp_path)!r}))\nbook.raise_last_id('yard', 4096)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    book = Book(tmp_path)
    assert book.last_id("yard") == 4096
    assert os.stat(tmp_path / DATA).st_mode & 0o077 == 0
    book.close()
