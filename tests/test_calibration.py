"""Retrieval heads: how they are chosen, checked, kept, and what becomes of signatures made for other heads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from longwatch.daemon.calibration.calibration import Calibration, find_calibration, load_heads, own_file
from longwatch.daemon.calibration.needles import Haystack, SceneNeedles, TextNeedles, choose_needles, embed_lines
from longwatch.daemon.calibration.program import find_or_calibrate, recalibrate
from longwatch.daemon.calibration.search import (
    FIRST,
    Measurement,
    calibrate,
    choose_heads,
    encode_haystack,
    score_blocks,
)
from longwatch.daemon.calibration.written_log import KINDS, THINGS, write_log
from longwatch.daemon.config import DaemonConfig, convert
from longwatch.daemon.model.queries import compute_queries
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.daemon.stream.signatures import Signatures
from longwatch.memory.settings import MemoryConfig
from longwatch.memory.store import Store
from longwatch.memory.tiers import Tiers
from longwatch.retrieval.errors import CalibrationError
from longwatch.retrieval.heads import RetrievalHeads, score_attention
from longwatch.retrieval.signature import SignatureLayout

from .daemon_process import DaemonProcess
from .memory.blocks import block_of

BLOCKS, NEEDLES, HEADS = 60, 40, 12
FOUND = Calibration(
    fingerprint="ab" * 32,
    heads=((1, 0), (2, 3)),
    group=2,
    recall={"recall@1": 0.5, "recall@4": 0.9, "recall@8": 1.0},
    foreign={"yard": 7},
)


@pytest.fixture(scope="module")
def embedded() -> VideoLM:
    return VideoLM.load(ModelConfig(dtype="float32"))


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> VideoLM:
    return VideoLM.load(ModelConfig(name=str(tiny_folder), dtype="float32"))


def noise(seed: int) -> torch.Tensor:
    """Masses `[needles, heads, blocks]` of heads that look nowhere in particular."""
    return torch.rand(NEEDLES, HEADS, BLOCKS, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def planted(seed: int, finders: dict[int, slice]) -> Measurement:
    """Each finder looks where the answer is, for some of the needles."""
    where = torch.randint(BLOCKS, (NEEDLES,), generator=torch.Generator().manual_seed(seed + 1))
    mass, proof = noise(seed), torch.zeros(NEEDLES, 2, BLOCKS, dtype=torch.bool)
    proof[torch.arange(NEEDLES), :, where] = True
    for head, some in finders.items():
        for needle in range(NEEDLES)[some]:
            mass[needle, head] *= 0.5
            mass[needle, head, where[needle]] += 0.5
    return Measurement(mass, proof, ("who",) * NEEDLES)


def test_the_head_that_looks_back_is_chosen_first_and_heads_of_no_help_never() -> None:
    measured = planted(0, {5: slice(None)})
    chosen = choose_heads(measured, 4)
    assert chosen.heads == [5]
    assert chosen.score == (1.0, 1.0, 1.0)


def test_heads_are_taken_for_what_they_add_and_not_for_what_they_find_alone() -> None:
    """Head 3 finds 28 of 40; 4 finds 24, all of which 3 finds; 9 finds the 12 others."""
    measured = planted(1, {3: slice(0, 28), 4: slice(0, 24), 9: slice(28, 40)})
    assert choose_heads(measured, 2).heads == [3, 9]


def test_a_needle_is_found_when_all_that_it_seeks_is() -> None:
    proof = torch.zeros(1, 2, 5, dtype=torch.bool)
    proof[0, 0, [1, 3]] = proof[0, 1, 4] = True
    measured = Measurement(torch.zeros(1, 1, 5), proof, ("order",))
    assert measured.ranks(torch.tensor([[0.5, 0.4, 0.3, 0.2, 0.1]])).tolist() == [4]  # block 4 is last
    assert measured.ranks(torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5]])).tolist() == [1]  # 4, then 3, which will do for 1


def test_scores_of_all_heads_equal_those_of_each_head_by_itself(tiny: VideoLM) -> None:
    """Layer by layer over joined keys, against `score_attention` over one head's keys of each block."""
    haystack = Haystack(9, embed_lines(tiny, [f"line {'x' * i}" for i in range(9)]), [])
    keys, window = encode_haystack(tiny, haystack, lambda _: None)
    assert len(keys) + len(window.blocks) == 9
    assert window.blocks
    asked = list(compute_queries(tiny, window, [tiny.prompt.question_ids(text) for text in ("what?", "which line?")]))
    found = score_blocks(asked, keys).view(2, 3, 6, len(keys))
    for question in range(2):
        for layer, head in ((0, 0), (1, 5), (2, 3)):
            plain = score_attention(
                asked[question][layer][head][None], [block[layer, head // 2][None] for block in keys]
            )
            assert torch.allclose(found[question, layer, head], plain, atol=1e-6)


@pytest.mark.slow
def test_the_embedded_models_heads_are_found_in_scenes_and_find_what_they_were_not_chosen_on(embedded: VideoLM) -> None:
    needles = SceneNeedles(streams=2, blocks=160, seconds=1800, each=4)
    shares: list[float] = []
    found = calibrate(embedded, needles, shares.append)
    assert found == calibrate(embedded, needles)
    assert found.good
    assert set(found.chosen_on).isdisjoint(found.checked_on)
    assert all(layer < 6 and head < 4 for layer, head in found.heads)
    assert len(found.alone) == len(found.heads)
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


def test_needles_are_those_that_the_model_can_read(embedded: VideoLM, tiny: VideoLM) -> None:
    assert isinstance(choose_needles(embedded), SceneNeedles)
    assert isinstance(choose_needles(tiny), TextNeedles)


def test_one_line_of_a_log_answers_a_question_and_no_other_does() -> None:
    lines, facts = write_log(400, np.random.default_rng(5))
    assert {fact.kind for fact in facts} == set(KINDS)
    assert len({fact.question for fact in facts}) == len(facts)
    for fact in facts:
        if fact.kind != "did":
            assert fact.answer in lines[fact.line]
    # Near-duplicates: what is left is left again, in another colour.
    for thing in THINGS:
        assert sum(f" {thing} near" in line and " left " in line for line in lines) in (2, 3)


def test_a_calibration_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    file = own_file(FOUND.fingerprint, tmp_path)
    FOUND.save(file)
    assert find_calibration("/some/model", FOUND.fingerprint, tmp_path) == FOUND
    assert load_heads("/some/model", FOUND.fingerprint, tmp_path) == RetrievalHeads(FOUND.heads, FOUND.group)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_calibration_of_another_model_or_none_at_all_is_refused(tmp_path: Path) -> None:
    FOUND.save(tmp_path / "c.json")
    with pytest.raises(CalibrationError, match="was measured on model abababababababab, not on cdcdcdcdcdcdcdcd"):
        Calibration.load(tmp_path / "c.json", "cd" * 32)
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(CalibrationError, match="is not a calibration"):
        Calibration.load(tmp_path / "c.json", "ab" * 32)


def config_for(model: Path, folder: Path, **retrieval: object) -> DaemonConfig:
    tables = {"model": {"name": str(model)}, "memory": {"folder": str(folder)}, "retrieval": retrieval}
    return convert(tables, DaemonConfig, "test")


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = Store(MemoryConfig(folder=str(folder), commit_seconds=0.05, map_bytes=1 << 28))
    try:
        yield store
    finally:
        store.close()


def tiers_of(store: Store, fingerprint: str) -> Tiers:
    device = torch.device("cpu")
    return Tiers(store, codec="raw32", ram_bytes=1 << 20, fingerprint=fingerprint, device=device, dtype=torch.float32)


@pytest.mark.slow
def test_a_model_is_measured_once_and_what_is_not_good_enough_is_remembered(
    tiny: VideoLM, tiny_folder: Path, tmp_path: Path
) -> None:
    config, progress = config_for(tiny_folder, tmp_path), list[float]()
    with opened(tmp_path) as store:
        first = find_or_calibrate(config, tiny, store, progress.append)
        assert progress
        progress.clear()
        again = find_or_calibrate(config, tiny, store, progress.append)
    assert first is not None
    assert first == again
    assert not progress
    assert first.needles == "text"
    assert not first.good, "a random model finds nothing"
    assert first.retrieval_heads is None


def test_a_model_is_not_measured_where_that_is_switched_off_or_not_needed(
    tiny: VideoLM, tiny_folder: Path, tmp_path: Path
) -> None:
    with opened(tmp_path) as store:
        assert find_or_calibrate(config_for(tiny_folder, tmp_path, calibrate=False), tiny, store, pytest.fail) is None
        assert find_or_calibrate(config_for(tiny_folder, tmp_path, retriever="rekv"), tiny, store, pytest.fail) is None


@pytest.mark.slow
def test_a_daemon_looks_for_heads_at_its_first_start_only_and_says_what_it_uses(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with DaemonProcess(tmp_path, f'name = "{tiny_folder}"\n') as daemon:
        assert daemon.client.status().retriever == "rekv-shared (no head of the model finds well enough)"
        log = daemon.log.read_text()
        assert log.index("looking for the retrieval heads") < log.index("calibrated") < log.index("no head finds")
        daemon.stop()
        daemon.start()
        assert daemon.client.status().retriever == "rekv-shared (no head of the model finds well enough)"
        again = daemon.log.read_text()[len(log) :]
        assert "looking for the retrieval heads" not in again
        assert "no head finds well enough" in again


HERE = RetrievalHeads(((1, 0), (4, 2)), 2)
ELSEWHERE = RetrievalHeads(((0, 3), (5, 1)), 2)


@pytest.mark.parametrize("before", [None, ELSEWHERE], ids=["mean keys only", "as many other heads"])
def test_signatures_made_for_other_heads_are_made_again_from_the_blocks(
    embedded: VideoLM, before: RetrievalHeads | None, tmp_path: Path
) -> None:
    geometry = embedded.geometry
    with opened(tmp_path) as store:
        tiers = tiers_of(store, "ab" * 32)
        keys = torch.randn(12, *geometry[:2], 5, geometry.head_dim, generator=torch.Generator().manual_seed(1))
        for number, block_keys in enumerate(keys, 1):
            layout = SignatureLayout(before if number <= 8 else HERE)
            tiers.spill("yard", block_of(number, number, block_keys, layout.signatures(block_keys[None])[0]))
        store.flush()
        wanted = SignatureLayout(HERE)
        signatures = Signatures("yard", tiers, wanted, geometry, foreign_until=0 if before is None else 8)
        found = {info.block_id: signature for info, signature in signatures.read(store.partitions("yard"))}
    assert sorted(found) == list(range(1, 13))
    for number, expected in enumerate(wanted.signatures(keys), 1):
        assert torch.equal(found[number], expected), number


@pytest.mark.slow
def test_calibrating_again_marks_what_is_remembered_and_drops_index_files_of_other_heads(
    embedded: VideoLM, tmp_path: Path
) -> None:
    with opened(tmp_path) as store:
        tiers = tiers_of(store, embedded.fingerprint)
        keys = torch.randn(*embedded.geometry[:2], 5, embedded.geometry.head_dim)
        tiers.spill("yard", block_of(5, 1, keys, torch.zeros(1, 4).half()))
        store.flush()
        (partition,) = store.partitions("yard")
        partition.index_file.write_bytes(b"of other heads")
        config = config_for(Path("embedded"), tmp_path)
        needles = SceneNeedles(streams=2, blocks=100, seconds=900, each=2)
        found = recalibrate(config, embedded, store, needles, lambda _: None)
        assert not partition.index_file.exists()
        assert found.foreign == {"yard": 5}
        assert find_or_calibrate(config, embedded, store, pytest.fail) == found


def run_calibrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "longwatch.clients.cli", "calibrate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_the_command_measures_and_says_that_a_random_model_finds_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[model]\nname = "{tiny_folder}"\n[memory]\nfolder = "{tmp_path}/store"\n')
    done = run_calibrate(str(config), "--needles", "text", "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert (said["good"], said["needles"]) == (False, "text")
    assert said["recall"][f"recall@{FIRST}"] < 0.5
    assert find_calibration(str(tiny_folder), said["fingerprint"], tmp_path / "store") is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.toml"], "longwatch: none.toml: No such file or directory"),
        (["none.toml", "--needles", "hay"], "longwatch: --needles: hay is neither text nor scenes"),
    ],
)
def test_a_mistake_of_the_commands_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = run_calibrate(*arguments)
    assert (done.returncode, done.stderr.strip()) == (2, sentence)
