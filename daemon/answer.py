"""`Answer`: one question's life, from words to tokens and evidence."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import torch

from ..memory.block import Block, BlockInfo, Places
from ..memory.errors import BlockNotFound, CorruptBlock
from ..memory.tiers import Tiers
from ..retrieval.budget import over_span, within_budget
from ..retrieval.heads import RetrievalHeads, attention_mass
from ..retrieval.reference import named_span, understand
from ..retrieval.retriever import Hit
from ..retrieval.retrievers.rekv import RekvRetriever
from ..retrieval.settings import RetrievalConfig
from ..retrieval.timespan import Span
from .layerwise import LayerwiseRecall, Part
from .log import get_logger
from .model.attention import Context, GrowingLayout
from .model.decoding import sample
from .model.video_lm import VideoLM
from .protocol import AnswerEnd, Ask, Delta, ErrorReply, Evidence, Reply
from .stream import Stream

EVIDENCE_BLOCKS = 8
_TOKENS_A_STEP = 4
_log = get_logger("answer")


class Seen(NamedTuple):
    """A block in the context, with its keys and values `[L, H, T, D]`. `origin` as in `Evidence`."""

    info: BlockInfo
    origin: str
    keys: torch.Tensor
    values: torch.Tensor
    places: Places | None


class Answer:
    """A question being answered in short steps, so that frames and other answers go on beside it.

    Args:
        emit: takes each `Delta`, and the `AnswerEnd` or `ErrorReply`.
        heads: the model's retrieval heads, or None where it has no calibration.
    """

    def __init__(
        self,
        request: Ask,
        stream: Stream,
        *,
        model: VideoLM,
        tiers: Tiers,
        config: RetrievalConfig,
        heads: RetrievalHeads | None,
        emit: Callable[[Reply], None],
    ) -> None:
        self.request, self.emit = request, emit
        self.cancelled = False
        self._stream, self._model, self._tiers, self._config, self._heads = stream, model, tiers, config, heads
        self._began = time.perf_counter()
        self._first_token = 0.0
        self.steps = self._steps()

    def fail(self, code: str, message: str) -> None:
        """Tells the client that there will be no answer."""
        self.emit(ErrorReply(request_id=self.request.request_id, code=code, message=message))

    def _steps(self) -> Iterator[None]:
        """The whole life; each `next` is a short piece of work on the engine's thread.

        Raises:
            TimeSpanError: the question's time span is impossible.
            StorageError: the memory cannot be read.
        """
        # 1. What time it is about, and which blocks bear on it.
        span = self._span()
        ids = self._model.prompt.question_ids(self.request.question)
        context: GrowingLayout
        if isinstance(self._stream.retriever, RekvRetriever):
            recall = self._recall_by_layer(self._stream.retriever, span)
            context = recall.context(ids)
            recalled = [_recalled(block) for block in recall.blocks]
            evidence = self._evidence(recalled, recall.hits, {})
        else:
            queries = self._queries(ids)
            hits = self._choose(queries, span)
            yield
            # 2. Back before the model's eyes: sink | recalled | window.
            with self._tiers.pinned(self._stream.name, [hit.info.block_id for hit in hits]):
                recalled = self._fetch(hits)
            seen = [*recalled, *self._recent(span, anything_recalled=bool(recalled))]
            evidence = self._evidence(seen, hits, queries)
            context = self._lay_out(seen)
        yield
        # 3. Tokens, and what they rest on.
        text, tokens, stopped = yield from self._decode(context, ids)
        self.emit(
            AnswerEnd(
                request_id=self.request.request_id,
                text=text,
                stream=self._stream.name,
                evidence=evidence,
                since_ns=span.since_ns if span else None,
                until_ns=span.until_ns if span else None,
                gaps=self._stream.gaps(span) if span else [],
                recalled=[block.info.block_id for block in recalled],
                tokens=tokens,
                ttft_ms=(self._first_token - self._began) * 1e3,
                total_ms=(time.perf_counter() - self._began) * 1e3,
                stopped=stopped,
            )
        )

    def _span(self) -> Span | None:
        """The span that the client gave, in numbers or words, else the one that the question names."""
        if self.request.since_ns is not None or self.request.until_ns is not None:
            return Span(self.request.since_ns, self.request.until_ns)
        if self.request.time:
            return named_span(self.request.time, self._stream.now_ns, self._stream.zone)
        return understand(self.request.question, self._stream.now_ns, self._stream.zone).span

    def _queries(self, ids: list[int]) -> dict[int, torch.Tensor]:
        last_layer = self._stream.retriever.last_layer
        if last_layer == -1:
            return {}
        return self._model.ask(self._stream.window, ids, last_layer).by_layer

    def _choose(self, queries: dict[int, torch.Tensor], span: Span | None) -> list[Hit]:
        """The blocks to recall, none of which stands in the window."""
        retriever = self._stream.retriever
        in_window = {block.block_id for block in self._stream.window.blocks}
        hits = retriever.rank(queries, span, in_window, self.request.question)
        return self._fitting(hits, span, in_window)

    def _fitting(self, hits: list[Hit], span: Span | None, in_window: set[int]) -> list[Hit]:
        config, retriever = self._config, self._stream.retriever
        if span is None or not config.span_blocks:
            return within_budget(hits, config.recall_blocks, config.recall_tokens)
        infos = [info for info in retriever.index.infos(span) if info.block_id not in in_window]
        fitting = config.recall_tokens // max((info.tokens for info in infos), default=1)
        return over_span(hits, infos, min(config.span_blocks, fitting))

    def _fetch(self, hits: list[Hit]) -> list[Seen]:
        """The hits' blocks in time order; a damaged one is left out and said so."""
        blocks = [block for hit in hits if (block := self._block(hit)) is not None]
        blocks.sort(key=lambda block: (block.start_ns, block.block_id))
        return [_recalled(block) for block in blocks]

    def _block(self, hit: Hit) -> Block | None:
        try:
            return self._tiers.fetch(self._stream.name, [hit.info.block_id])[0]
        except (CorruptBlock, BlockNotFound) as exc:  # or forgotten since it was ranked
            _log.warning("block left out", stream=self._stream.name, error=str(exc))
            return None

    def _recall_by_layer(self, retriever: RekvRetriever, span: Span | None) -> LayerwiseRecall:
        """As `_choose` and `_fetch`, for each layer when its turn comes."""
        in_window = {block.block_id for block in self._stream.window.blocks}
        anything = any(info.block_id not in in_window for info in retriever.index.infos(span)) if span else True
        recent = self._recent(span, anything_recalled=anything)

        def rank(layer: int, queries: torch.Tensor) -> list[Hit]:
            return self._fitting(retriever.rank_layer(layer, queries, span, in_window), span, in_window)

        parts = [Part(block.keys, block.values, block.places) for block in recent]
        return LayerwiseRecall(self._model, Part(*self._stream.window.sink), parts, rank, self._block)

    def _recent(self, span: Span | None, *, anything_recalled: bool) -> list[Seen]:
        """The window's blocks that bear on the question: all of them, or where it names a time, those of that time.

        Where the memory holds nothing of that time, the window stands for what there is.
        """
        window = self._stream.window
        known = self._stream.retriever.index.by_id([block.block_id for block in window.blocks])
        infos = {info.block_id: info for info in known}
        everything = [
            Seen(infos[part.block_id], "window", part.keys, part.values, part.places)
            for part in window.parts()
            if part.block_id in infos
        ]
        if span is None:
            return everything
        of_then = [block for block in everything if span.touches(block.info.start_ns, block.info.end_ns)]
        return of_then if of_then or anything_recalled else everything

    def _lay_out(self, seen: list[Seen]) -> Context:
        parts = [self._stream.window.sink, *((block.keys, block.values) for block in seen)]
        recalled = sum(block.origin != "window" for block in seen)
        return self._model.lay_out(parts, [None, *(block.places for block in seen)], recalled=recalled)

    def _decode(self, context: GrowingLayout, ids: list[int]) -> Generator[None, None, tuple[str, int, str]]:
        """Prefills the question and decodes, a few tokens a step. Returns text, tokens and why it stopped."""
        request, detokenizer = self.request, self._model.detokenizer()
        generator = torch.Generator(device=self._model.device).manual_seed(request.seed)
        choose = functools.partial(sample, temperature=request.temperature, top_p=request.top_p, generator=generator)
        tokens, stopped = 0, "length"
        for token in itertools.islice(self._model.generate(context, ids, choose), request.max_tokens):
            tokens += 1
            self._first_token = self._first_token or time.perf_counter()
            if token in self._model.stop_ids or self.cancelled:
                stopped = "cancelled" if self.cancelled else "end"
                break
            if piece := detokenizer.add(token):
                self.emit(Delta(request_id=request.request_id, text=piece))
            if tokens % _TOKENS_A_STEP == 0:
                yield
        if piece := detokenizer.finish():
            self.emit(Delta(request_id=request.request_id, text=piece))
        return detokenizer.text, tokens, stopped

    def _evidence(self, seen: list[Seen], hits: list[Hit], queries: dict[int, torch.Tensor]) -> list[Evidence]:
        """The blocks in the context by the share of the retrieval heads' attention that each gets.

        Without heads, the recalled ones by the retriever's own score.
        """
        if self._heads is not None and queries:
            keys = [self._keys_of_heads(block.keys) for block in seen]
            mass = attention_mass(self._heads.queries(queries), keys).tolist() if keys else []
            scores = {block.info.block_id: share for block, share in zip(seen, mass, strict=True)}
        else:
            scores = {hit.info.block_id: hit.score for hit in hits}
        ranked = sorted(
            (block for block in seen if block.info.block_id in scores), key=lambda block: -scores[block.info.block_id]
        )
        return [
            Evidence(
                block_id=block.info.block_id,
                start_ns=block.info.start_ns,
                end_ns=block.info.end_ns,
                score=scores[block.info.block_id],
                origin=block.origin,
                picture=self._tiers.picture(self._stream.name, block.info.block_id) if self.request.pictures else b"",
            )
            for block in ranked[:EVIDENCE_BLOCKS]
        ]

    def _keys_of_heads(self, keys: torch.Tensor) -> torch.Tensor:
        """`[R, T, D]` float32 out of `[L, H, T, D]`."""
        assert self._heads is not None, "only asked for where there are heads"
        return torch.stack([keys[layer, head] for layer, head in self._heads.kv_heads]).float()


def _recalled(block: Block) -> Seen:
    return Seen(block.info, "recalled", block.keys, block.values, block.places)
