"""`Engine`: the one thread that owns the model, and the order in which it serves frames and answers.

Each turn does one short step of an answer and one of a stream, taking both in rotation, so that neither a long
answer nor a busy camera keeps the others waiting. Where there is not time enough for both, see `Balance`.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque

import torch

from .. import __version__
from ..memory.block import BlockInfo
from ..memory.book import Erasure
from ..memory.errors import StorageError
from ..memory.tiers import Tiers
from ..retrieval.retrievers.choice import make_retriever
from ..retrieval.signature import SignatureLayout
from ..retrieval.time.span import Span
from .answer.answer import Answer
from .answer.answers import Answers, Key
from .balance import Balance
from .calibration.calibration import Calibration, heads_of
from .capture.address import kind_of
from .capture.settings import SourceConfig
from .config import DaemonConfig, convert
from .errors import DaemonError, DeviceFull, Stopping, StreamExists, StreamUnknown
from .figures import Figures
from .housekeeping import Housekeeping
from .log import get_logger
from .model.image_text import ImageText
from .model.video_lm import VideoLM
from .orders import Orders
from .protocol import Ask, DayDropping, Forget, StatusReply, StreamsAdd, StreamsRemove
from .roster import Plan, Roster
from .server.server import Emit
from .stream.inbox import Inbox
from .stream.stream import Publish, Stream
from .stream_orders import AddStream, ForgetTime, RemoveStream
from .supervised import SupervisedThread

_INDEX_FILES_SECONDS = 60.0
_IDLE_SECONDS = 0.5
_STUCK_SECONDS = 30.0
_log = get_logger("engine")


class Engine:
    """Owns the model, the streams and the answers under way.

    Args:
        calibration: what is known of the model's retrieval heads; None where it has none.
        publish: takes events; called on the engine's and the feeders' threads.
        embedding: the image-text model, or None where none is configured.
    """

    def __init__(
        self,
        config: DaemonConfig,
        model: VideoLM,
        tiers: Tiers,
        calibration: Calibration | None,
        publish: Publish,
        embedding: ImageText | None = None,
    ) -> None:
        self._config, self._model, self._tiers, self._calibration = config, model, tiers, calibration
        self._heads = heads = heads_of(calibration)
        self._publish, self._embedding = publish, embedding
        space = None if embedding is None else embedding.space
        self._layout = SignatureLayout(heads, embedding=space, text_tokens=model.prompt.clock_tokens)
        tiers.on_damage, tiers.on_lost = self._tell_damage, self._tell_lost
        self._streams: dict[str, Stream] = {}  # replaced, never changed in place: other threads look
        self._stopping_sources: set[str] = set()  # of streams that are watched no more, and not yet at rest
        self._something_to_do = threading.Event()
        self._answers = Answers(self._something_to_do.set)
        self._orders = Orders(self._something_to_do.set)
        self._balance = Balance()
        self._figures = Figures(tiers.store)
        self._turns: deque[str] = deque()
        self._stopping = False
        self._began, self._files_at = time.monotonic(), 0.0
        self._turned_at = self._began
        self._told_stuck_at = 0.0
        self._gone: deque[tuple[str, list[int]]] = deque()
        self._lost: deque[tuple[str, list[BlockInfo], str]] = deque()
        self._housekeeping = Housekeeping(config.memory, tiers, self._watched, self._tell_gone)
        self._told_store_error = ""
        self.restarts = 0
        self._thread = SupervisedThread("engine", self._run)
        self._roster = Roster(tiers.store.book, config.streams, tiers.store.streams())
        for name, plan in self._roster.at_start.items():
            self._open_at_start(name, plan)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.alive

    def start(self) -> None:
        """Starts all threads, or starts again those that have died."""
        self._thread.start()
        self._figures.start()
        self._housekeeping.start()
        for stream in self._streams.values():
            stream.start()

    def stop(self) -> None:
        """Stops watching and answering; what was encoded is in the memory."""
        self._stopping = True
        self._something_to_do.set()
        self._thread.join(30)
        stopping = Stopping("the daemon is stopping; ask again when it runs")
        self._orders.refuse_all(stopping)
        self._answers.refuse_all(stopping)
        self._figures.stop()
        self._housekeeping.stop()
        for stream in self._streams.values():
            stream.stop_soon()
        for stream in self._streams.values():
            stream.stop()

    def supervise(self) -> None:
        """Starts again whatever has died."""
        dead = [s for s in self._streams.values() if not s.alive]
        if self._tiers.store.writer.supervise():
            self.restarts += 1
            _log.error("the store's writer died; it is started again, and what it was writing is written again")
        if dead or not self.alive or not self._figures.alive or not self._housekeeping.alive:
            self.restarts += 1
            _log.error("a thread died, starting it again", engine=self.alive, streams=[s.name for s in dead])
            self.start()
        self._tell_store_error()
        if self._stuck and self._told_stuck_at != self._turned_at:
            self._told_stuck_at = self._turned_at
            _log.error("the engine does not move", seconds=_STUCK_SECONDS, where=self._thread.stack)

    def _tell_store_error(self) -> None:
        stats = self._tiers.store.stats
        gist = re.sub(r"\d+", "", stats.last_error)  # how much is free changes while it lasts
        before, self._told_store_error = self._told_store_error, gist
        if gist and gist != before:
            _log.error("nothing is written; blocks wait in RAM", error=stats.last_error, blocks=stats.queued_blocks)
        elif before and not gist:
            _log.info("blocks are written again")

    @property
    def _stuck(self) -> bool:
        """Whether one turn has taken far longer than any should."""
        return self.alive and time.monotonic() - self._turned_at > _STUCK_SECONDS

    def ask(self, request: Ask, key: Key, emit: Emit) -> None:
        """See `Service.ask`."""
        answer = Answer(
            request,
            self._stream_for(request.stream),
            model=self._model,
            tiers=self._tiers,
            config=self._config.retrieval,
            calibration=self._calibration,
            emit=emit,
        )
        self._answers.add(key, answer)

    def cancel(self, key: Key) -> None:
        """See `Service.cancel`."""
        self._answers.cancel(key)

    def add_stream(self, request: StreamsAdd, emit: Emit) -> None:
        """See `Service.add_stream`."""
        config = convert(request.source, SourceConfig, f"stream {request.name}")
        self._config.server.check_kind(kind_of(config.url))
        config.zone()  # raises where there is none
        self._orders.put(AddStream(self, request, config, emit))

    def remove_stream(self, request: StreamsRemove, emit: Emit) -> None:
        """See `Service.remove_stream`."""
        self._orders.put(RemoveStream(self, request, emit))

    def forget(self, request: Forget, emit: Emit) -> None:
        """See `Service.forget`."""
        self._orders.put(ForgetTime(self, request, emit))

    def watch(self, name: str, config: SourceConfig) -> None:
        """See `Streams.watch`."""
        known = self._streams.get(name)
        if known is not None and known.watched:
            raise StreamExists(f"a stream {name} is there already; remove it first, or take another name")
        if name in self._stopping_sources:
            raise StreamExists(f"the stream {name} is still being stopped; try again in a moment")
        before = self._roster.of(name)
        self._roster.watch(name, config)  # first: where it cannot be kept, it is not watched
        try:
            if known is None:
                self._open(name, Plan(config, watched=True)).start()
            else:
                known.watch(config)
        except BaseException:
            self._roster.restore(name, before)
            if known is None:
                self._close(name)
            raise
        self._turns.append(name)

    def _close(self, name: str) -> None:
        """Takes out a stream that could not be opened whole."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.stop_soon()
            self._streams = {other: each for other, each in self._streams.items() if each is not stream}

    def unwatch(self, name: str) -> Inbox:
        """See `Streams.unwatch`."""
        stream = self._streams.get(name)
        if stream is None or not stream.watched:
            raise StreamUnknown(self._no_stream(name))
        self._roster.unwatch(name)  # first: where that cannot be kept, it is watched on
        inbox = stream.unwatch()
        self._stopping_sources.add(name)
        self._turns.remove(name)
        self._drop_if_empty(stream)
        return inbox

    def at_rest(self, name: str) -> None:
        """See `Streams.at_rest`."""
        self._stopping_sources.discard(name)

    def let_go(self, request: Forget) -> Erasure:
        """See `Streams.let_go`."""
        name, store = request.stream, self._tiers.store
        stream = self._streams.get(name)
        if stream is None and name not in store.remembered():
            raise StreamUnknown(self._no_stream(name))
        erasure = store.eraser.promise(name, request.since_ns, request.until_ns)
        try:
            if stream is not None:
                infos = stream.retriever.index.infos(Span(request.since_ns, request.until_ns))
                stream.forget_on_the_way(erasure.since_ns, erasure.until_ns)
                self._forget(name, [info.block_id for info in infos if info.block_id <= erasure.last_id])
        except BaseException:
            store.eraser.release(erasure)  # the promise is kept all the same
            raise
        return erasure

    def erase(self, erasure: Erasure) -> int:
        """See `Streams.erase`."""
        return self._housekeeping.erase(erasure)

    def status(self, request_id: str) -> StatusReply:
        """See `Service.status`."""
        tiers, (store, process_bytes) = self._tiers.stats, self._figures.newest
        streams = list(self._streams.values())
        return StatusReply(
            request_id=request_id,
            version=__version__,
            model=self._model.description,
            device=f"{self._model.device} {str(self._model.dtype).removeprefix('torch.')}",
            retriever=self._retriever_name(),
            uptime_seconds=time.monotonic() - self._began,
            threads={
                "engine": self.alive and not self._stuck,
                "writer": self._tiers.store.healthy,
                **{f"feeder {stream.name}": stream.alive for stream in streams if stream.watched},
            },
            restarts=self.restarts,
            streams=[stream.status() for stream in streams],
            answers_running=len(self._answers),
            ram_bytes=tiers.ram_bytes,
            ram_blocks=tiers.ram_blocks,
            disk_bytes=store.disk_bytes,
            queued_blocks=self._tiers.store.writer.queue_size.blocks,
            damaged_blocks=tiers.damaged,
            process_bytes=process_bytes,
            store_error=self._tiers.store.error,
            dropping=[DayDropping(**each._asdict()) for each in self._housekeeping.dropping],
        )

    def _run(self) -> None:
        torch.set_grad_enabled(False)
        while not self._stopping:
            self._turned_at = time.monotonic()
            self._something_to_do.clear()  # before looking: what comes while we look is not slept over
            try:
                worked = self._turn()
            except Exception:
                _log.exception("a step failed")
                worked = False
            if not worked:
                self._something_to_do.wait(_IDLE_SECONDS)

    def _turn(self) -> bool:
        """One order, one step of an answer, one of a stream if it is its turn, and index files when they are due."""
        obeyed = self._orders.run_next()
        began = time.monotonic()
        answered = self._answers.step()
        between = time.monotonic()
        if answered:
            self._balance.answers_took(between - began)
        else:
            self._balance.nobody_asked()
        encoded = self._balance.frames_may and self._step_stream()
        if answered:
            self._balance.frames_took(time.monotonic() - between)
        self._let_go_of_gone()
        if time.monotonic() >= self._files_at:
            self._files_at = time.monotonic() + _INDEX_FILES_SECONDS
            for stream in self._streams.values():
                stream.past_days.keep()
        return obeyed or answered or encoded

    def _step_stream(self) -> bool:
        """Gives the next stream in turn that has something to do one step."""
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            stream = self._streams[self._turns[-1]]
            try:
                if stream.step():
                    return True
            except (StorageError, DeviceFull) as exc:
                stream.note_error(str(exc))
        return False

    def _forget(self, name: str, block_ids: list[int]) -> None:
        """Blocks are gone, or will be: nothing finds them any more."""
        self._tiers.drop(name, block_ids)
        if name in self._streams:
            self._streams[name].forget(block_ids)
            self._drop_if_empty(self._streams[name])

    def _let_go_of_gone(self) -> None:
        """Takes out what the store has dropped or given up."""
        while self._gone:
            self._forget(*self._gone.popleft())
        while self._lost:
            name, blocks, why = self._lost.popleft()
            if name in self._streams:
                self._streams[name].lose(blocks, why)

    def _watched(self) -> list[str]:
        return [name for name, stream in self._streams.items() if stream.watched]

    def _tell_gone(self, stream: str, block_ids: list[int]) -> None:
        self._gone.append((stream, block_ids))
        self._something_to_do.set()

    def _tell_lost(self, stream: str, blocks: list[BlockInfo], why: str) -> None:
        _log.error("blocks can never be written and are lost", stream=stream, blocks=len(blocks), error=why)
        self._lost.append((stream, blocks, why))
        self._something_to_do.set()

    def _tell_damage(self, stream: str, block_id: int, why: str) -> None:
        _log.error("block damaged and left out", stream=stream, block=block_id, error=why)

    def _open_at_start(self, name: str, plan: Plan) -> None:
        """A stream of the configuration that cannot be opened ends the start; any other is then only remembered."""
        try:
            if self._open(name, plan).watched:
                self._turns.append(name)
        except (DaemonError, StorageError) as exc:
            if name in self._config.streams:
                raise
            self._close(name)
            _log.error("a stream cannot be watched as before; add it again", stream=name, error=str(exc))
            try:
                self._open(name, Plan(SourceConfig(url=plan.source.url), watched=False))
            except StorageError as worse:
                _log.error("a stream cannot be opened; its memory stays as it is", stream=name, error=str(worse))

    def _drop_if_empty(self, stream: Stream) -> None:
        """A stream that is neither watched nor remembered is no more."""
        if not stream.watched and not len(stream.retriever.index):
            self._streams = {name: other for name, other in self._streams.items() if other is not stream}
            self._roster.forget(stream.name)

    def _open(self, name: str, plan: Plan) -> Stream:
        heads = self._heads

        def read_keys(block_id: int) -> torch.Tensor:
            return self._tiers.keys(name, block_id, heads.kv_heads if heads is not None else ())

        embed = None if self._embedding is None else self._embedding.embed_words
        retriever = make_retriever(self._config.retrieval, self._layout, self._model.geometry, read_keys, embed)
        stream = Stream(
            name,
            plan.source,
            watched=plan.watched,
            model=self._model,
            tiers=self._tiers,
            retriever=retriever,
            layout=self._layout,
            embedding=self._embedding,
            publish=self._publish,
            arrived=self._something_to_do.set,
            foreign_until=0 if self._calibration is None else self._calibration.foreign.get(name, 0),
        )
        self._streams = {**self._streams, name: stream}
        return stream

    def _stream_for(self, name: str | None) -> Stream:
        """The stream of a name; without a name the only one, or the only one that is watched."""
        streams = self._streams
        if name is None:
            watched = [stream for stream in streams.values() if stream.watched]
            found = watched or list(streams.values())
            if len(found) == 1:
                return found[0]
        elif name in streams:
            return streams[name]
        raise StreamUnknown(self._no_stream(name))

    def _no_stream(self, name: str | None) -> str:
        there = ", ".join(
            stream.name if stream.watched else f"{stream.name} (not watched)"
            for _, stream in sorted(self._streams.items())
        )
        if name is None:
            return f"say which stream; there are: {there or 'none'}"
        if name in self._streams:
            return f"stream {name} is not watched"
        return f"no stream {name}; there are: {there or 'none'}"

    def _retriever_name(self) -> str:
        name, internal = self._config.retrieval.retriever, "rekv-shared" if self._heads is None else "heads"
        if name == "hybrid" and (self._heads is not None or self._embedding is not None):
            return f"hybrid ({internal} and {'rekv-shared' if self._embedding is None else 'external'})"
        if name not in ("heads", "hybrid") or self._heads is not None:
            return name
        why = "the model has no calibration" if self._calibration is None else "no head of the model finds well enough"
        return f"rekv-shared ({why})"
