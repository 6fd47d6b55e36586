"""What the language stage is told: where each part of an answer is seen, and how often each kind is asked."""

from __future__ import annotations

import pytest
import torch

from longwatch.yard.kinds import QUESTION_KINDS
from longwatch.yard.moment import Moment, gated_moments
from longwatch.yard.scene import Scene
from training.checkpoint import new_model
from training.contexts import Batch, ContextFrames, ContextMaker, Stream, find_stories
from training.lessons import Lessons
from training.planting import plant
from training.tokenizer import build
from training.tongue import Tongue


class Watching(ContextMaker):
    """Remembers which moments each context was made of."""

    drawn: list[list[Moment]]

    def _context(self, past: int, recent: int, hidden: int) -> ContextFrames:
        drawn = super()._context(past, recent, hidden)
        self.drawn.append(drawn.moments)
        return drawn


@pytest.fixture(scope="module")
def made() -> tuple[Watching, Batch]:
    moments = gated_moments(Scene(seed=1, busy=0.5), 900)
    maker = Watching([Stream(moments, torch.randn(len(moments), 16, 256), find_stories(moments))], build(), 3)
    maker.drawn = []
    return maker, maker.batch(24, 4, 4, 8, 0, dict.fromkeys(QUESTION_KINDS, 1.0), full=True)


def test_the_word_that_names_a_colour_is_written_looking_at_a_thing_of_that_colour(
    made: tuple[Watching, Batch],
) -> None:
    """For every part of a list, at every place that is said to show it."""
    maker, b = made
    names = maker.tokenizer.convert_ids_to_tokens(list(range(len(maker.tokenizer))))
    colours = {"red", "blue", "green", "yellow", "white", "black", "orange", "purple"}
    looked = 0
    for i, row, at in b.answering.nonzero().tolist():
        word = names[b.labels[i, row, at]].removeprefix("▁")
        part = int(b.part[i, row, at])
        if word not in colours or part < 0:
            continue
        for frame, cell in b.shown[i, part].nonzero().tolist():
            there = {t.colour for t in maker.drawn[i][frame].state.things if t.cell == cell}
            assert word in there, (word, there, frame, cell)
            looked += 1
    assert looked > 100


def test_the_end_of_an_answer_and_a_count_look_at_nothing(made: tuple[Watching, Batch]) -> None:
    maker, b = made
    ends = b.answering & (b.labels == maker.eos)
    assert ends.sum() > 100
    assert (b.part[ends] == -1).all()


def test_ordinals_count_the_things_of_a_frame(made: tuple[Watching, Batch]) -> None:
    maker, b = made
    for moments, of_frames in zip(maker.drawn, b.ordinals, strict=True):
        for moment, ordinals in zip(moments, of_frames, strict=True):
            cells = [thing.cell for thing in moment.state.things]
            if len(set(cells)) == len(cells):
                assert [int(ordinals[cell]) for cell in cells] == [min(n, 4) for n in range(1, len(cells) + 1)]
                assert int((ordinals > 0).sum()) == len(cells)


def test_hidden_frames_are_seen_by_the_frame_behind_them_and_by_no_question(made: tuple[Watching, Batch]) -> None:
    maker, _ = made
    b = maker.batch(6, 3, 2, 6, 3, dict.fromkeys(QUESTION_KINDS, 1.0))
    p = b.packed
    hidden = torch.tensor([i < 12 and i % 4 < 3 for i in range(14)])
    assert not p.seen[p.question >= 0][:, hidden].any()
    assert p.seen[p.question >= 0][:, ~hidden].any()
    assert p.follows[:, :12].tolist() == [[i % 4 > 0 for i in range(12)]] * 6
    assert p.places[0, ~hidden].tolist() == [3, 4, 5, 6, 7]  # as a recalled block stands beside the next
    assert p.places[0, :4].tolist() == [0, 1, 2, 3]
    assert not b.shown[:, :, hidden].any()
    assert not b.sought[:, :, hidden].any()
    assert (b.kept == ~hidden).all()


def test_the_frames_behind_a_recalled_one_are_not_looked_for(made: tuple[Watching, Batch]) -> None:
    """Whatever a hidden frame shows, the heads that are taught where to look are told nothing about it."""
    maker, _ = made
    torch.manual_seed(0)
    tongue = Tongue(new_model())
    b = maker.batch(2, 3, 2, 6, 3, dict.fromkeys(QUESTION_KINDS, 1.0))
    q = torch.randn(2, 4, b.packed.end + b.ids[0].numel(), 64)
    k = torch.randn(2, 2, b.packed.end + b.ids[0].numel(), 64)
    before = tongue._look_loss(b, q, k)
    of_frames = b.kept.repeat_interleave(b.packed.frame_tokens, 1)
    hidden = torch.cat([torch.zeros(2, b.packed.sink, dtype=torch.bool), ~of_frames], 1)
    k[:, :, : b.packed.end][hidden[:, None].expand(-1, 2, -1)] += 3.0
    assert torch.equal(tongue._look_loss(b, q, k), before)


def test_a_kind_that_goes_badly_is_asked_more_often() -> None:
    lessons = Lessons(["easy", "hard"])
    for _ in range(300):
        lessons.note([("easy", True), ("hard", False)])
    weights = lessons.weights()
    assert weights["hard"] > 5 * weights["easy"] > 0


def test_a_planted_model_begins_with_the_words_themselves() -> None:
    """Its layers add nothing but what the look-ups copy, and those are silent in the first layer and the last."""
    torch.manual_seed(0)
    model = new_model().eval()
    plant(model)
    layers = model.model.language_model.layers
    x, nowhere = torch.randn(1, 5, 256), torch.zeros(1, 5, dtype=torch.long)
    angles = model.model.language_model.rotary_emb(x, nowhere)
    with torch.inference_mode():
        for n, changes in enumerate((False, True, True, True, True, False)):
            after = layers[n](x, position_embeddings=angles, position_ids=nowhere)
            after = after[0] if isinstance(after, tuple) else after
            assert torch.equal(after, x) != changes
