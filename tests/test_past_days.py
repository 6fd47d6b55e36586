"""Index files of past days, on real LMDB files: they change no ranking, are not trusted, and hold nothing forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from longwatch.daemon.stream.past_days import PastDays
from longwatch.daemon.stream.signatures import Signatures
from longwatch.memory.block import Block, Geometry
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers
from longwatch.retrieval.heads import RetrievalHeads
from longwatch.retrieval.index.day import ClosedDay
from longwatch.retrieval.retrievers.choice import make_retriever
from longwatch.retrieval.retrievers.retriever import Query, Retriever
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.signature import SignatureLayout
from longwatch.retrieval.time.span import Span

from .daemon_process import DaemonProcess
from .memory.blocks import DAY_NS, MORNING_NS, block_of, forget_span
from .test_damage import flip_a_byte

GEOMETRY = Geometry(layers=3, kv_heads=2, head_dim=16)
HEADS = RetrievalHeads(((1, 0), (2, 3)), group=2)
LAYOUT = SignatureLayout(HEADS, sub_vectors=4)
A_DAY = 40  # blocks
DAYS = 3


def keys_of(number: int) -> Tensor:
    return torch.randn(3, 2, 6, 16, generator=torch.Generator().manual_seed(number)).bfloat16()


def make_block(number: int) -> Block:
    """Block `number`, of the first, second or third day."""
    start_ns = MORNING_NS + (number - 1) // A_DAY * DAY_NS + number * 1_000_000_000
    keys = keys_of(number)
    return block_of(number, start_ns, keys, LAYOUT.signatures(keys[None])[0])


class Memory(NamedTuple):
    tiers: Tiers
    retriever: Retriever
    past_days: PastDays

    def write(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            block = make_block(number)
            self.tiers.spill("yard", block)
            self.retriever.index.add(block.info, self.retriever.index.cut(block.signature))
        self.tiers.store.flush()

    def ranking(self, span: Span | None = None) -> list[tuple[int, float]]:
        """For a question like some of the blocks, of each day one."""
        asked = torch.randn(3, 4, 5, 16, generator=torch.Generator().manual_seed(0))
        for layer, head in HEADS.heads:
            for number in (7, A_DAY + 7, 2 * A_DAY + 7):
                asked[layer, head] += keys_of(number)[layer, head // 2, 3].float()
        return [
            (hit.info.block_id, hit.score)
            for hit in self.retriever.rank(Query(by_layer=dict(enumerate(asked))), span, ())
        ]

    def is_closed(self, day: int) -> bool:
        return isinstance(list(self.retriever.index._days.values())[day], ClosedDay)


@contextmanager
def memory(folder: Path) -> Iterator[Memory]:
    store = Store(MemoryConfig(folder=str(folder), codec="raw16", commit_seconds=0.05, map_bytes=1 << 28))
    try:
        device, dtype = torch.device("cpu"), torch.bfloat16
        tiers = Tiers(store, codec="raw16", ram_bytes=1 << 20, fingerprint="ab" * 32, device=device, dtype=dtype)
        retriever = make_retriever(
            RetrievalConfig(candidates=16), LAYOUT, GEOMETRY, lambda i: tiers.keys("yard", i, HEADS.kv_heads)
        )
        past_days = PastDays("yard", tiers, retriever.index, Signatures("yard", tiers, LAYOUT, GEOMETRY))
        past_days.restore()
        yield Memory(tiers, retriever, past_days)
        past_days.stop()
    finally:
        store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A memory of three days, whose first two have index files."""
    with memory(tmp_path) as first:
        first.write(1, DAYS * A_DAY)
    with memory(tmp_path):
        pass
    assert [file.parent.name for file in index_files(tmp_path)] == ["2026-03-02", "2026-03-03"]
    return tmp_path


def index_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("yard/*/index"))


def bytes_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_a_start_with_index_files_ranks_as_one_without_and_opens_only_the_days_asked_about(folder: Path) -> None:
    second_day = Span(MORNING_NS + DAY_NS, MORNING_NS + DAY_NS + DAY_NS // 3)
    with memory(folder) as of_files:
        assert len(of_files.retriever.index) == DAYS * A_DAY
        assert [of_files.is_closed(day) for day in range(DAYS)] == [True, True, False]
        of_one = of_files.ranking(second_day)
        assert [of_files.is_closed(day) for day in range(DAYS)] == [True, False, False]
        of_all = of_files.ranking()
    for file in index_files(folder):
        file.unlink()
    with memory(folder) as of_data:
        assert of_data.ranking(second_day) == of_one
        assert of_data.ranking() == of_all
    assert of_all


@pytest.mark.parametrize("place", ["start", "rows", "vectors", "end"])
def test_a_flipped_byte_in_an_index_file_costs_the_file_and_nothing_else(
    folder: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with memory(folder) as whole:
        expected = whole.ranking()
    file = index_files(folder)[0]
    good = file.read_bytes()
    at = {"start": 9, "rows": 200, "vectors": len(good) // 2, "end": len(good) - 1}[place]
    file.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
    with memory(folder) as damaged:
        assert len(damaged.retriever.index) == DAYS * A_DAY
        assert damaged.ranking() == expected
    assert "index file made again" in "".join(capsys.readouterr())
    assert file.read_bytes() == good


@pytest.mark.parametrize("content", [b"", b"LWIX", b"not an index file" * 100])
def test_a_file_that_is_no_index_is_made_again(folder: Path, content: bytes) -> None:
    file = index_files(folder)[1]
    good = file.read_bytes()
    file.write_bytes(content)
    with memory(folder):
        assert file.read_bytes() == good


def test_an_index_file_cut_off_is_made_again(folder: Path) -> None:
    file = index_files(folder)[1]
    good = file.read_bytes()
    file.write_bytes(good[:-100])
    with memory(folder) as cut:
        cut.ranking()
        assert file.read_bytes() == good


def test_what_is_forgotten_leaves_no_byte_in_an_index_file_and_does_not_come_back(folder: Path) -> None:
    gone, kept = (3, A_DAY + 7), (4, A_DAY + 8)
    marks = {
        number: LAYOUT.head_parts(GEOMETRY)[0].cut(make_block(number).signature).half().numpy().tobytes()
        for number in gone + kept
    }
    before, old = bytes_under(folder), [file.read_bytes() for file in index_files(folder)]
    assert all(mark in before for mark in marks.values())
    with memory(folder) as forgetful:
        assert A_DAY + 7 in [block_id for block_id, _ in forgetful.ranking()]
        forgetful.retriever.index.forget(gone)
        forgetful.tiers.drop("yard", gone)
        for number in gone:
            forget_span(forgetful.tiers.store, make_block(number).start_ns, make_block(number).end_ns)
        after = bytes_under(folder)
        assert not any(marks[number] in after for number in gone)
        assert all(marks[number] in after for number in kept)
        assert index_files(folder) == []
        expected = forgetful.ranking()
    for day, content in zip(("2026-03-02", "2026-03-03"), old, strict=True):
        (folder / "yard" / day / "index").write_bytes(content)  # as from a backup: refused, since the day has changed
    with memory(folder) as later:
        assert len(later.retriever.index) == DAYS * A_DAY - 2
        assert later.ranking() == expected
    assert not any(marks[number] in bytes_under(folder) for number in gone)


def test_a_day_that_is_forgotten_whole_takes_its_index_file_along(folder: Path) -> None:
    with memory(folder) as forgetful:
        forget_span(forgetful.tiers.store, None, make_block(A_DAY).end_ns)
    assert [file.parent.name for file in index_files(folder)] == ["2026-03-03"]
    assert not (folder / "yard" / "2026-03-02").exists()


def test_a_day_with_a_damaged_block_gets_no_file_so_that_every_start_tells_of_it(folder: Path) -> None:
    index_files(folder)[0].unlink()
    flip_a_byte(folder / "yard" / "2026-03-02" / "data.mdb", "signatures", 5)
    for _ in range(2):
        with memory(folder) as damaged:
            assert damaged.tiers.stats.damaged == 1
            assert len(damaged.retriever.index) == DAYS * A_DAY - 1
    assert [file.parent.name for file in index_files(folder)] == ["2026-03-03"]


def test_a_day_whose_data_are_set_aside_leaves_no_index_file(folder: Path) -> None:
    (folder / "yard" / "2026-03-02" / "data.mdb").write_bytes(b"not a database" * 1000)
    with memory(folder) as rest:
        assert len(rest.retriever.index) == (DAYS - 1) * A_DAY
    assert [file.parent.name for file in index_files(folder)] == ["2026-03-03"]


def test_a_day_gets_its_file_once_it_has_ended_and_is_then_searched_where_the_file_lies(tmp_path: Path) -> None:
    with memory(tmp_path) as watching:
        watching.write(1, A_DAY)
        watching.past_days.update()
        watching.past_days.stop()
        assert index_files(tmp_path) == []
        watching.write(A_DAY + 1, A_DAY + 3)
        before = watching.ranking()
        watching.past_days.update()
        watching.past_days.stop()
        assert [file.parent.name for file in index_files(tmp_path)] == ["2026-03-02"]
        watching.past_days.update()
        assert watching.is_closed(0)
        assert watching.ranking() == before


def test_a_block_that_lasts_into_the_next_day_has_its_day_filed_again(folder: Path) -> None:
    last = make_block(A_DAY).info
    file = index_files(folder)[0]
    old = file.read_bytes()
    with memory(folder) as longer:
        longer.tiers.extend("yard", last, last.start_ns + 77)
        longer.retriever.index.extend(last, last.start_ns + 77)
        longer.tiers.store.flush()
        longer.ranking()  # opens the day, of which the file still says otherwise
        assert longer.retriever.index.by_id([A_DAY])[0].end_ns == last.start_ns + 77
        for _ in range(2):
            longer.past_days.update()
            longer.past_days.stop()
    assert file.read_bytes() != old
    with memory(folder) as later:
        assert later.retriever.index.by_id([A_DAY])[0].end_ns == last.start_ns + 77


def test_a_block_may_still_come_to_a_day_that_lies_in_a_file(folder: Path) -> None:
    late = make_block(A_DAY)
    with memory(folder) as watching:
        watching.ranking()
        info = late.info._replace(block_id=1000)
        watching.retriever.index.add(info, watching.retriever.index.cut(late.signature))
        assert len(watching.retriever.index) == DAYS * A_DAY + 1
        assert watching.retriever.index.by_id([1000]) == [info]


def test_where_no_index_file_can_be_written_the_day_is_searched_all_the_same(folder: Path) -> None:
    with memory(folder) as whole:
        expected = whole.ranking()
    for file in index_files(folder):
        file.unlink()
        file.mkdir()  # in the way
        (file / "something").touch()
    with memory(folder) as without:
        assert without.ranking() == expected
    shutil.rmtree(index_files(folder)[0])


@pytest.mark.slow
def test_a_daemon_answers_alike_with_index_files_and_without_and_forgets_from_them(tmp_path: Path) -> None:
    """Over a midnight: the first start makes the file of the day before, the second uses it, the third has none."""
    url = "scene://?seed=2&minutes=4&start=2026-03-02T23:58:00&busy=0.6"
    stream = f'[streams.yard]\nurl = "{url}"\npace = "fast"\n'
    with DaemonProcess(tmp_path, stream, "keep_days = 0") as daemon:
        blocks = daemon.wait(lambda s: s.streams[0].state == "ended" and not s.queued_blocks).streams[0].blocks
        answers = []
        for _ in range(3):
            answers.append([daemon.client.ask(q) for q in ("what was there at 23:58:40?", "did a red car appear?")])
            assert daemon.client.status().streams[0].blocks == blocks
            daemon.stop()
            if len(answers) == 2:
                (file,) = index_files(tmp_path / "store")
                file.unlink()
            daemon.start()
        for later in answers[1:]:
            assert [end.recalled for end in later] == [end.recalled for end in answers[0]]
            assert [end.text for end in later] == [end.text for end in answers[0]]
        assert answers[0][0].recalled
        (file,) = index_files(tmp_path / "store")
        old = file.read_bytes()
        gone = daemon.client.forget("yard", None, answers[0][0].until_ns)
        assert gone
        assert not file.exists() or file.read_bytes() != old
        daemon.stop()
        daemon.start()
        assert daemon.client.status().streams[0].blocks == blocks - gone
        assert file.stat().st_size < len(old)


def test_the_day_that_is_written_has_no_file_even_if_its_clock_was_set_back(tmp_path: Path) -> None:
    with memory(tmp_path) as ahead:
        ahead.write(2 * A_DAY + 1, 2 * A_DAY + 5)  # on the third day, and then on the first again
        for number in range(2 * A_DAY + 6, 2 * A_DAY + 9):
            keys = keys_of(number)
            start_ns = MORNING_NS + number * 1_000_000_000
            ahead.tiers.spill("yard", block_of(number, start_ns, keys, LAYOUT.signatures(keys[None])[0]))
    with memory(tmp_path) as again:
        assert len(again.retriever.index) == 8
        again.past_days.update()
        again.past_days.stop()
    assert [file.parent.name for file in index_files(tmp_path)] == ["2026-03-04"]
