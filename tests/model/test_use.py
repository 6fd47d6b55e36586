"""What a question attends to while it is answered: the context's own books against attention written out."""

from __future__ import annotations

import torch

from longwatch.daemon.answer.evidence import heads_to_watch, share_attention
from longwatch.daemon.answer.recall import ContextBlock
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.memory.block import BlockInfo
from longwatch.retrieval.heads import RetrievalHeads

HEADS = RetrievalHeads(((1, 3), (4, 0), (1, 0)), group=2)


def model() -> VideoLM:
    return VideoLM.load(ModelConfig(name="embedded", dtype="float32", device="cpu"))


def seen_by(lm: VideoLM, blocks: int) -> list[ContextBlock]:
    generator = torch.Generator().manual_seed(4)
    size = (lm.geometry.layers, lm.geometry.kv_heads, 6, lm.geometry.head_dim)
    return [
        ContextBlock(
            BlockInfo(i + 1, i, i, 6),
            "recalled",
            "ram",
            torch.randn(size, generator=generator),
            torch.randn(size, generator=generator),
            None,
        )
        for i in range(blocks)
    ]


def test_what_is_attended_to_is_the_softmax_of_the_last_question_token_and_of_each_answer_token() -> None:
    lm = model()
    window, seen = lm.new_window(), seen_by(lm, 5)
    parts = [window.sink, *((block.keys, block.values) for block in seen)]
    context = lm.lay_out(parts)
    laid_out = context.tokens
    context.watch(heads_to_watch(HEADS, lm))
    expected = torch.zeros(laid_out)
    # The question in one piece, then three tokens of an answer; after each, its last token's attention by hand.
    for ids in (lm.prompt.question_ids("was there a red car?"), [5], [6], [7]):
        lm.prefill(context, ids)
        positions = torch.tensor([[context.tokens - 1]])
        angles = lm.text.rotation.angles(positions, context._keys)
        for layer, head in HEADS.heads:
            query = lm.text.rotation.turn(context.queries[layer][None, :, -1:], angles)[0, head, 0]
            keys = context._keys[layer, head // HEADS.group, : context.tokens]
            expected += (keys @ query * query.shape[-1] ** -0.5).softmax(0)[:laid_out]
    assert torch.allclose(context.attended(laid_out), expected, atol=1e-5)
    use = share_attention(seen, window.sink_tokens, context.attended(laid_out))
    of_blocks = expected[window.sink_tokens :].view(5, 6).sum(1)
    assert torch.allclose(torch.tensor([use[i + 1] for i in range(5)]), of_blocks / of_blocks.sum(), atol=1e-5)


def test_a_long_question_prefilled_in_pieces_counts_as_one_in_a_single_piece() -> None:
    attended = []
    for chunk_tokens in (512, 3):
        lm = VideoLM.load(ModelConfig(name="embedded", dtype="float32", device="cpu", chunk_tokens=chunk_tokens))
        context = lm.lay_out([lm.new_window().sink, *((block.keys, block.values) for block in seen_by(lm, 3))])
        context.watch(heads_to_watch(None, lm))
        ids = lm.prompt.question_ids("what colour was the car at the gate?")
        assert len(ids) % 3 != 1  # a last piece of one token is as good as any, but is not what is tested here
        lm.prefill(context, ids)
        attended.append(context.attended(20))
    assert torch.allclose(attended[0], attended[1], atol=1e-5)


def test_watching_changes_no_answer() -> None:
    lm = model()
    answers = []
    for watch in (False, True):
        context = lm.lay_out([lm.new_window().sink, *((block.keys, block.values) for block in seen_by(lm, 3))])
        if watch:
            context.watch(heads_to_watch(None, lm))
        answers.append(lm.prefill(context, lm.prompt.question_ids("is the door open?")))
    assert torch.equal(answers[0], answers[1])
