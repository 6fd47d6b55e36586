"""What is settled about a question before its blocks are ranked, and what of a ranking is recalled."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from longwatch.daemon.answer.plan import RecallPlan, make_plan, spread_over_span, take_within_budget
from longwatch.daemon.answer.question_time import QuestionTime
from longwatch.memory.block import BlockInfo
from longwatch.memory.window import Window
from longwatch.retrieval.blockrows import BlockRows
from longwatch.retrieval.index.day import SPAN_ROWS
from longwatch.retrieval.index.index import SignatureIndex
from longwatch.retrieval.retrievers.retriever import Hit
from longwatch.retrieval.settings import RetrievalConfig
from longwatch.retrieval.time.span import SECOND_NS, Span

TOKENS = 6
CONFIG = RetrievalConfig(recall_blocks=3, recall_tokens=1000, span_blocks=8, span_passes=4)
INFOS = [BlockInfo(i + 1, i * SECOND_NS, i * SECOND_NS, TOKENS, gap=10 <= i < 15) for i in range(40)]


def plan(question: str, span: Span | None, config: RetrievalConfig = CONFIG) -> RecallPlan:
    """Of a stream of 40 blocks, a second each, 11 to 15 of them gaps and the last four in the window."""
    index = SignatureIndex([])
    window = Window(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), 4 * TOKENS)
    for info in INFOS:
        index.add(info, [])
        window.append(info.block_id, torch.zeros(1, 1, TOKENS, 4), torch.zeros(1, 1, TOKENS, 4), None)
    return make_plan(QuestionTime(question, span), index, window, config)


def ids(infos: BlockRows | None) -> list[int]:
    assert infos is not None
    return [info.block_id for info in infos]


def test_without_a_time_the_best_of_a_ranking_are_recalled() -> None:
    made = plan("what happened?", None)
    assert made.in_window == {37, 38, 39, 40}
    assert (made.video, made.outside, made.parts) == (True, None, ())
    hits = [Hit(info, 0.1) for info in INFOS[20:30]]
    assert made.fit(hits) == hits[:3]


def test_of_a_named_time_all_blocks_outside_the_window_are_recalled_where_they_fit() -> None:
    made = plan("was there a dog?", Span(33 * SECOND_NS, 38 * SECOND_NS))
    assert ids(made.outside) == [34, 35, 36]
    assert [hit.info.block_id for hit in made.fit([Hit(INFOS[35], 1.0)])] == [36, 34, 35]


@pytest.mark.parametrize(("tokens", "room"), [(1000, 8), (5 * TOKENS + 1, 5), (0, 1)])
def test_a_named_time_gets_as_many_blocks_as_fit_the_tokens_but_one_at_least(tokens: int, room: int) -> None:
    made = plan("was there a dog?", Span(0, None), msgspec.structs.replace(CONFIG, recall_tokens=tokens))
    assert made.room == room
    assert len(made.fit([Hit(info, 0.1) for info in INFOS[20:30]])) == room


def test_without_span_blocks_a_named_time_is_treated_as_any_other() -> None:
    made = plan("what happened?", Span(0, None), msgspec.structs.replace(CONFIG, span_blocks=0))
    hits = [Hit(info, 0.1) for info in INFOS[20:30]]
    assert (made.fit(hits), made.parts) == (hits[:3], ())


def test_a_time_of_gaps_alone_has_no_video() -> None:
    assert not plan("was there a dog?", Span(11 * SECOND_NS, 13 * SECOND_NS)).video
    assert not plan("was there a dog?", Span(90 * SECOND_NS, None)).video
    assert plan("was there a dog?", Span(11 * SECOND_NS, 15 * SECOND_NS)).video


def test_a_question_about_all_of_a_time_has_parts_only_where_one_context_is_too_small() -> None:
    """The blocks in the window are among them, the gaps are not."""
    made = plan("what happened?", Span(8 * SECOND_NS, None))
    assert [info.block_id for part in made.parts for info in part] == [9, 10, *range(16, 41)]
    assert max(map(len, made.parts)) <= 8
    assert plan("what happened?", Span(33 * SECOND_NS, None)).parts == ()
    assert plan("when did the dog come?", Span(8 * SECOND_NS, None)).parts == ()


def test_a_budget_of_tokens_ends_the_list() -> None:
    hits = [Hit(info, 0.1) for info in INFOS[:20]]
    assert len(take_within_budget(hits, 20, 2 * TOKENS + 1)) == 2
    assert len(take_within_budget(hits, 4, 1000)) == 4


def test_a_span_is_recalled_whole_or_by_its_best_and_evenly() -> None:
    infos = BlockRows(np.array([tuple(info) for info in INFOS[:30]], SPAN_ROWS))
    hits = [Hit(infos[i], 1 / (i + 1)) for i in (7, 8, 20)]
    assert spread_over_span(hits[:2], infos[7:10], 4) == [*hits[:2], Hit(infos[9], 0.0)]
    chosen = spread_over_span(hits, infos, 6)
    assert chosen[:3] == hits
    assert [hit.info.block_id for hit in chosen[3:]] == [1, 16, 30]
    assert spread_over_span([], infos[:0], 6) == []
