"""Fading on real files: old days take less room, nothing else changes, and what breaks off leaves a day as it was."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from longwatch.memory.block import Block, Places
from longwatch.memory.errors import CorruptBlock
from longwatch.memory.fader import Fader
from longwatch.memory.fading import fade_day
from longwatch.memory.retention import StoredDay, days_to_fade
from longwatch.memory.settings import CodecName, FadeStep, MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers

from .blocks import DAY_NS, MORNING_NS

PER_DAY = 80  # of so few, the scales are a good part
DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")


def camera_block(number: int) -> Block:
    """A block of a stream whose channels keep their mean, `PER_DAY` a day."""
    generator = torch.Generator().manual_seed(number)
    start = MORNING_NS + (number - 1) // PER_DAY * DAY_NS + number * 1_000_000_000
    return Block(
        block_id=number,
        start_ns=start,
        end_ns=start,
        keys=(torch.randn(4, 2, 24, 64, generator=generator) + torch.linspace(-4, 4, 64)).bfloat16(),
        values=torch.randn(4, 2, 24, 64, generator=generator).bfloat16(),
        signature=torch.randn(3, 8, generator=generator).half(),
        picture=b"jpeg" * 10,
    )


def open_tiers(folder: Path, codec: str, text_tokens: int = 0) -> Tiers:
    store = Store(MemoryConfig(folder=str(folder), codec=codec, commit_seconds=0.05, map_bytes=1 << 28))  # type: ignore[arg-type]
    device = torch.device("cpu")
    return Tiers(
        store,
        codec=codec,
        ram_bytes=1 << 20,
        fingerprint="ab" * 32,
        device=device,
        dtype=torch.bfloat16,
        text_tokens=text_tokens,
    )


def keys_of(tiers: Tiers) -> dict[int, torch.Tensor]:
    return {i: tiers.fetch("yard", [i])[0].keys for i in (info.block_id for info in tiers.store.infos("yard"))}


def step(codec: CodecName, days: float = 0, tokens: float = 1.0) -> FadeStep:
    return FadeStep(days=days, codec=codec, tokens=tokens)


def fade(tiers: Tiers, to: FadeStep) -> list[tuple[str, str, FadeStep, str]]:
    """Fades the first day, and returns what was told."""
    told: list[tuple[str, str, FadeStep, str]] = []
    fader = Fader(tiers, lambda *what: told.append(what))
    fader.fade([("yard", DAYS[0], to)])
    assert fader._thread is not None
    fader._thread.join()
    return told


@pytest.mark.parametrize("codec", ["raw16", "int4", "ecsq4"])
def test_an_old_day_takes_less_room_and_the_others_are_as_they_were(tmp_path: Path, codec: str) -> None:
    tiers = open_tiers(tmp_path, codec)
    for number in range(1, 3 * PER_DAY + 1):
        tiers.spill("yard", camera_block(number))
    tiers.store.flush()
    before, sizes = keys_of(tiers), {day.day: day.disk_bytes for day in tiers.store.days()}
    pictures = [tiers.picture("yard", n) for n in range(1, 3 * PER_DAY + 1)]
    signatures = [signature for _, signature in tiers.signatures("yard")]
    assert fade(tiers, step("ecsq2")) == [("yard", DAYS[0], step("ecsq2"), "")]
    assert fade(tiers, step("ecsq4")) == []  # never back to more
    after = keys_of(tiers)
    tiers.check_integrity()
    tiers.store.close()

    again = open_tiers(tmp_path, codec)
    assert all(torch.equal(keys, after[n]) for n, keys in keys_of(again).items())
    assert [again.picture("yard", n) for n in range(1, 3 * PER_DAY + 1)] == pictures
    found = [signature for _, signature in again.signatures("yard")]
    assert all(torch.equal(a, b) for a, b in zip(found, signatures, strict=True))
    smaller = {day.day: day.disk_bytes for day in again.store.days()}
    assert smaller[DAYS[0]] < 0.9 * sizes[DAYS[0]]
    assert [smaller[day] for day in DAYS[1:]] == [sizes[day] for day in DAYS[1:]]
    assert all(torch.equal(after[n], before[n]) for n in range(PER_DAY + 1, 3 * PER_DAY + 1))
    for n in range(1, PER_DAY + 1):
        error = (after[n].float() - camera_block(n).keys.float()).square().mean()
        assert 0.0005 < error < 0.25  # of a variance of one
    again.store.close()


def test_a_fading_that_is_broken_off_changes_nothing_and_reads_go_on_meanwhile(tmp_path: Path) -> None:
    tiers = open_tiers(tmp_path, "raw16")
    for number in range(1, 2 * PER_DAY + 1):
        tiers.spill("yard", camera_block(number))
    tiers.store.flush()
    begun, go_on = threading.Event(), threading.Event()

    def rest() -> None:
        begun.set()
        go_on.wait(10)
        raise KeyboardInterrupt

    def run() -> None:
        with pytest.raises(KeyboardInterrupt):
            fade_day(tiers, "yard", tiers.store.partition("yard", DAYS[0]), step("ecsq2"), rest)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(10)
    assert torch.equal(tiers.fetch("yard", [3])[0].keys, camera_block(3).keys)
    tiers.spill("yard", camera_block(2 * PER_DAY + 1))
    tiers.store.flush()
    go_on.set()
    thread.join()
    tiers.store.close()
    again = open_tiers(tmp_path, "raw16")
    assert all(torch.equal(keys, camera_block(n).keys) for n, keys in keys_of(again).items())
    assert len(keys_of(again)) == 2 * PER_DAY + 1
    assert not list(tmp_path.rglob("fresh"))
    again.store.close()


def test_a_day_fades_to_fewer_tokens_and_keeps_the_text_and_what_was_unusual(tmp_path: Path) -> None:
    """The unusual tokens keep their places, also through a second step, a restart, and a fetch."""
    tiers = open_tiers(tmp_path, "raw16", text_tokens=8)
    unusual = {number: {8 + number % 16, 8 + (number + 5) % 16} for number in range(40, PER_DAY + 1)}
    for number in range(1, PER_DAY + 2):
        block = camera_block(number)
        for place in unusual.get(number, ()):
            block.keys[:, :, place] += 6
        tiers.spill("yard", block)
    tiers.store.flush()
    size = tiers.store.days()[0].disk_bytes
    assert fade(tiers, step("int4", tokens=0.5))[0][2].tokens == 0.5
    assert fade(tiers, step("raw16", tokens=1.0)) == []  # never back to more
    assert tiers.store.days()[0].disk_bytes < 0.3 * size
    assert fade(tiers, step("ecsq2", tokens=0.125))[0][3] == ""
    for again in (False, True):
        if again:
            tiers.store.close()
            tiers = open_tiers(tmp_path, "raw16", text_tokens=8)
        for number, places in unusual.items():
            (block,) = tiers.fetch("yard", [number])
            assert block.places == Places((*range(8), *sorted(places)), 24)
            assert block.info.tokens == tiers.store.blocks_with("yard", number).info(number).tokens == 10
            difference = block.keys.float() - camera_block(number).keys[:, :, list(block.places.kept)].float()
            assert difference[:, :, :8].abs().mean() < 0.3
            assert (difference[:, :, 8:].mean() - 6).abs() < 0.2
            assert torch.equal(tiers.keys("yard", number, [(1, 0)])[0].bfloat16(), block.keys[1, 0])
    assert fade(tiers, step("ecsq2", tokens=0.125)) == []
    tiers.store.close()


def test_a_damaged_block_stays_damaged_and_does_not_keep_the_others_from_fading(tmp_path: Path) -> None:
    tiers = open_tiers(tmp_path, "raw16")
    for number in range(1, PER_DAY + 2):
        tiers.spill("yard", camera_block(number))
    tiers.store.flush()
    tiers.store.close()
    file = tmp_path / "yard" / DAYS[0] / "data.mdb"
    data = bytearray(file.read_bytes())
    data[data.index(camera_block(7).keys.view(torch.uint8).numpy().tobytes()[:64]) + 9] ^= 1
    file.write_bytes(data)
    tiers = open_tiers(tmp_path, "raw16")
    assert fade(tiers, step("ecsq2")) == [("yard", DAYS[0], step("ecsq2"), "")]
    with pytest.raises(CorruptBlock, match="block 7 of yard: the checksum does not hold"):
        tiers.fetch("yard", [7])
    assert tiers.fetch("yard", [8])[0].keys.shape == (4, 2, 24, 64)
    tiers.store.close()


def test_days_are_due_by_age_and_the_newest_never() -> None:
    days = [StoredDay("yard", f"2026-03-{day:02}", 100, 100) for day in range(1, 11)]
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    fading = (step("ecsq4", 2), step("ecsq2", 6))
    due = days_to_fade(days, now_ns=int(now.timestamp() * 1e9), fade=fading)
    ended = {day.day: datetime.fromisoformat(day.day).replace(tzinfo=UTC) + timedelta(days=1) for day in days}
    assert {day: to.codec for _, day, to in due} == {
        day: "ecsq2" if now - end > timedelta(days=6) else "ecsq4"
        for day, end in ended.items()
        if now - end > timedelta(days=2)
    }
    assert days_to_fade(days, now_ns=int(now.timestamp() * 1e9), fade=[step("ecsq2")])[-1][1] == "2026-03-09"
