"""`explain`: how an answer came about, for a client that asks for it."""

from __future__ import annotations

from ...retrieval.time.span import Span
from ..protocol import Candidate, Explanation, Step
from .evidence import Outcome
from .question_time import QuestionTime


def explain(time: QuestionTime, outcome: Outcome, steps: list[Step]) -> Explanation:
    """What was read, ranked, recalled and answered on the way.

    Args:
        steps: how long each took.
    """
    use = {block_id: share for part in outcome.parts for block_id, share in part.use.items()}
    blocks = outcome.blocks
    scores = {hit.info.block_id: hit.score for hit in outcome.hits}
    infos = {hit.info.block_id: hit.info for hit in outcome.hits} | {i: block.info for i, block in blocks.items()}
    event = time.event_span or Span()
    return Explanation(
        words=time.words,
        event=time.event,
        event_since_ns=event.since_ns,
        event_until_ns=event.until_ns,
        question=time.question,
        present=time.present,
        parts=[part.text for part in outcome.parts[:-1]],
        candidates=[
            Candidate(
                block_id=block_id,
                start_ns=info.start_ns,
                end_ns=info.end_ns,
                score=scores.get(block_id, 0.0),
                tier=blocks[block_id].tier if block_id in blocks else "",
                use=use.get(block_id, 0.0),
            )
            for block_id, info in infos.items()
        ],
        steps=steps,
    )
