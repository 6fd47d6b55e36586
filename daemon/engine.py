"""`Engine`: the one thread that owns the model, and the order in which it serves frames and answers.

Each turn does one short step of an answer and one of a stream. Answers take turns, and so do streams, so that neither
a long answer nor a busy camera keeps the others waiting. `Balance` decides when there is not enough time for both.
"""

from __future__ import annotations

import threading
import time

import torch

from .. import __version__
from .answer.answer import Answer
from .answer.answers import Answers, Key
from .balance import Balance
from .capture.address import kind_of
from .capture.settings import SourceConfig
from .config import convert
from .errors import Stopping
from .housekeeping import Housekeeping
from .integrity import IntegrityCheck
from .log import get_logger
from .measurements import Measurements
from .orders import Orders
from .parts import Parts
from .protocol import Ask, DayDropping, Forget, StatusReply, StreamsAdd, StreamsRemove
from .roster import Roster
from .server.service import OnReply
from .stream.encoder import OnEvent
from .stream_orders import AddStream, ForgetTime, RemoveStream
from .streams import Streams
from .supervised import SupervisedThread
from .watchdog import Watchdog
from .watchlist import WatchList

_INDEX_FILES_SECONDS = 60.0
_IDLE_SECONDS = 0.5
_log = get_logger("engine")


class Engine:
    """Answers questions and watches streams. The server's `Service`.

    Args:
        on_event: takes what happens; called on the engine's and the feeders' threads.

    Attributes:
        restarts: how often something had died and was started again.
        integrity: checks what is held in RAM while the engine is idle.

    Raises:
        DaemonError, StorageError: a stream of the configuration file cannot be opened.
    """

    def __init__(self, parts: Parts, on_event: OnEvent) -> None:
        self._parts, self._tiers, self._store = parts, parts.tiers, parts.tiers.store
        self._something_to_do = threading.Event()
        wake = self._something_to_do.set
        self._answers, self._orders, self._balance = Answers(wake), Orders(wake), Balance()
        roster = Roster(self._store.book, parts.config.streams, self._store.streams())
        self._streams = Streams(parts.tiers, roster, wake)
        self._watch_list = WatchList(self._streams, roster, parts.stream_maker(on_event, wake).make)
        self._tiers.on_damage, self._tiers.on_lost = self._on_damage, self._streams.on_lost
        self._measurements = Measurements(self._store)
        self._housekeeping = Housekeeping(
            parts.config.memory, parts.tiers, lambda: self._streams.watched, self._streams.on_gone
        )
        self._thread = SupervisedThread("engine", self._run)
        self._watchdog = Watchdog(self._thread, self._store)
        self.integrity = IntegrityCheck(self._tiers.check_integrity, self._store.writer.check_integrity)
        self._stopping = False
        self._began, self._files_at = time.monotonic(), 0.0
        self.restarts = 0
        self._watch_list.open_all()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.alive

    def start(self) -> None:
        """Starts all threads, or starts again those that have died."""
        self._thread.start()
        self._measurements.start()
        self._housekeeping.start()
        self._streams.start()

    def stop(self) -> None:
        """Stops watching and answering. What was encoded is in the memory."""
        self._stopping = True
        self._something_to_do.set()
        self._thread.join(30)
        stopping = Stopping("the daemon is stopping; ask again when it runs")
        self._orders.refuse_all(stopping)
        self._answers.refuse_all(stopping)
        self._measurements.stop()
        self._housekeeping.stop()
        self._streams.stop()

    def supervise(self) -> None:
        """Starts again whatever has died, and logs what else is wrong. Called about once a second."""
        if self._store.writer.supervise():
            self.restarts += 1
            _log.error("the store's writer died and was started again; it writes again what it was writing")
        dead = self._streams.dead
        if dead or not (self.alive and self._measurements.alive and self._housekeeping.alive):
            self.restarts += 1
            _log.error("a thread died, starting it again", engine=self.alive, streams=dead)
            self.start()
        self._watchdog.look()

    def ask(self, request: Ask, key: Key, on_reply: OnReply) -> None:
        """See `Service.ask`."""
        answer = Answer(
            request,
            self._streams.find(request.stream),
            model=self._parts.model,
            tiers=self._tiers,
            config=self._parts.config.retrieval,
            calibration=self._parts.calibration,
            on_reply=on_reply,
        )
        self._answers.add(key, answer)

    def cancel(self, key: Key) -> None:
        """See `Service.cancel`."""
        self._answers.cancel(key)

    def add_stream(self, request: StreamsAdd, on_reply: OnReply) -> None:
        """See `Service.add_stream`."""
        config = convert(request.source, SourceConfig, f"stream {request.name}")
        self._parts.config.server.check_kind(kind_of(config.url))
        config.zone()  # raises if there is no such time zone
        self._orders.put(AddStream(self._watch_list, request, config, on_reply))

    def remove_stream(self, request: StreamsRemove, on_reply: OnReply) -> None:
        """See `Service.remove_stream`."""
        self._orders.put(RemoveStream(self._watch_list, request, on_reply))

    def forget(self, request: Forget, on_reply: OnReply) -> None:
        """See `Service.forget`."""
        self._orders.put(ForgetTime(self._streams, self._housekeeping, request, on_reply))

    def status(self, request_id: str) -> StatusReply:
        """See `Service.status`."""
        tiers, (store, process_bytes) = self._tiers.stats, self._measurements.newest
        streams, model = self._streams.all, self._parts.model
        return StatusReply(
            request_id=request_id,
            version=__version__,
            model=model.description,
            device=f"{model.device} {str(model.dtype).removeprefix('torch.')}",
            retriever=self._parts.retriever,
            uptime_seconds=time.monotonic() - self._began,
            threads={
                "engine": self._watchdog.engine_moves,
                "writer": self._store.healthy,
                **{f"feeder {stream.name}": stream.alive for stream in streams if stream.watched},
            },
            restarts=self.restarts,
            streams=[stream.status() for stream in streams],
            answers_running=len(self._answers),
            ram_bytes=tiers.ram_bytes,
            ram_blocks=tiers.ram_blocks,
            disk_bytes=store.disk_bytes,
            queued_blocks=self._store.writer.queue_size.blocks,
            damaged_blocks=tiers.damaged,
            process_bytes=process_bytes,
            store_error=self._store.error,
            dropping=[DayDropping(**each._asdict()) for each in self._housekeeping.dropping],
        )

    def _run(self) -> None:
        torch.set_grad_enabled(False)
        while not self._stopping:
            self._watchdog.note_turn()
            self._something_to_do.clear()  # before looking: what comes while we look must not be slept over
            try:
                worked = self._take_turn()
                if not worked:
                    self.integrity.run_if_due()
            except Exception:
                _log.exception("a step failed")
                worked = False
            if not worked:
                self._something_to_do.wait(_IDLE_SECONDS)

    def _take_turn(self) -> bool:
        """One order, one step of an answer, one of a stream if it is its turn, and index files if they are due."""
        obeyed = self._orders.run_next()
        began = time.monotonic()
        answered = self._answers.step()
        between = time.monotonic()
        if answered:
            self._balance.note_answer(between - began)
        else:
            self._balance.note_silence()
        encoded = self._balance.lets_frames_in and self._streams.step()
        if answered:
            self._balance.note_frames(time.monotonic() - between)
        self._streams.settle()
        if time.monotonic() >= self._files_at:
            self._files_at = time.monotonic() + _INDEX_FILES_SECONDS
            self._streams.keep_index_files()
        return obeyed or answered or encoded

    def _on_damage(self, stream: str, block_id: int, why: str) -> None:
        _log.error("block damaged and left out", stream=stream, block=block_id, error=why)
