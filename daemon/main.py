"""Starts, supervises and stops the daemon: `python -m longwatch.daemon.main CONFIG`."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..memory.errors import StorageError, StoreInUse
from ..retrieval.errors import RetrievalError
from .config import DaemonConfig, load_config
from .errors import CaptureError, ConfigError, DaemonError
from .log import get_logger, set_up
from .server.openfiles import raise_limit
from .stopping import Stopping

if TYPE_CHECKING:
    from ..memory.store import Store
    from .engine import Engine
    from .server.server import Server

_SWITCH_SECONDS = 0.001  # the longest that Python code on the engine's thread keeps the server's waiting
_log = get_logger("main")


def serve(config: DaemonConfig, stopping: Stopping) -> None:
    """Runs a daemon until it is told to stop; on return all that was encoded is durable.

    Raises:
        DaemonError, StorageError, RetrievalError: it cannot start, or the last blocks could not be written.
    """
    # Loaded here, so that a mistake in the configuration is told at once and not behind torch.
    with stopping.at_once(_say_nothing_begun):
        from ..memory.store import Store
        from ..memory.tiers import Tiers
        from ..retrieval.time.reference import prepare
        from .calibration.program import find_or_calibrate
        from .engine import Engine
        from .model.image_text import ImageText
        from .model.video_lm import VideoLM
        from .server.server import Server

    stop = stopping.told
    store = Store(config.memory)
    for notice in store.notices:
        _log.warning(notice)
    for day, why in store.broken.items():
        _log.error("a day's file cannot be read; its blocks are not found", day=day, why=why)
    try:
        _log.info("loading the model", model=config.model.name)
        with stopping.at_once(functools.partial(_close_unused, store)):
            model = VideoLM.load(config.model)
        tiers = Tiers(
            store,
            codec=config.memory.codec,
            ram_bytes=config.memory.ram_bytes,
            fingerprint=model.fingerprint,
            device=model.device,
            dtype=model.dtype,
            text_tokens=model.prompt.clock_tokens,
        )
        prepare()
        calibration = find_or_calibrate(config, model, store, lambda _: _go_on(stop))
        name, embedding = config.retrieval.embedding, None
        if name:
            _log.info("loading the image-text model", model=name)
            with stopping.at_once(functools.partial(_close_unused, store)):
                embedding = ImageText(name, model.device, model.dtype)
        waiting: list[Server] = []
        engine = Engine(config, model, tiers, calibration, lambda *event: waiting[0].publish(*event), embedding)
        server = Server(config.server, engine)
        waiting.append(server)
        try:
            server.start()
            engine.start()
            _log.info("ready", address=server.address, streams=sorted(config.streams))
            while not stop.wait(1.0):
                _supervise(engine, server)
        finally:
            _log.info("stopping")
            engine.stop()
            server.stop()
    except _Stopped:
        _log.info("stopped before all was measured; the next start begins anew")
    finally:
        store.close()
    if store.writer.lost_blocks:
        _log.warning("stopped; all other blocks are durable", lost=store.writer.lost_blocks)
    else:
        _log.info("stopped, all blocks durable")


def _supervise(engine: Engine, server: Server) -> None:
    """Starts again what has died. Where that fails, say since no thread can be started, it is tried again later."""
    for part in (functools.partial(_revive, engine, server), engine.supervise):
        try:
            part()
        except Exception:
            _log.exception("supervising failed")


def _revive(engine: Engine, server: Server) -> None:
    if not server.alive:
        engine.restarts += 1
        _log.error("the server died, starting it again")
        server.start()


def _take_own_session() -> None:
    """Where no terminal is to stop it, the daemon leaves the session of whoever started it.

    Linux shares processors between sessions before it shares them between the processes of one (sched(7), autogroup).
    So a daemon that a script has started gets half of a busy machine, as a service would.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        with contextlib.suppress(OSError):  # it leads a group of processes, or has a session of its own already
            os.setsid()


def _say_nothing_begun() -> None:
    _log.info("stopped before anything was begun")


def _close_unused(store: Store) -> None:
    store.close()
    _log.info("stopped before the model was loaded; nothing was stored")


class _Stopped(Exception):
    """The daemon is to end before it has begun to watch."""


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise _Stopped


def main() -> None:
    """The process: one sentence on stderr and an exit code where it cannot run."""
    if len(sys.argv) != 2:
        print("usage: python -m longwatch.daemon.main CONFIG", file=sys.stderr)
        sys.exit(2)
    faulthandler.enable()  # should a library crash, the log says where
    stopping = Stopping()
    _take_own_session()
    raise_limit()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        config = load_config(Path(sys.argv[1]))
        set_up(level=config.log.level, as_json=config.log.json)
        serve(config, stopping)
        gc.freeze()  # or Python would look at every object of torch before it ends, for seconds on a busy machine
    except (DaemonError, StorageError, RetrievalError) as exc:
        print(f"longwatch: {exc}", file=sys.stderr)
        sys.exit(2 if isinstance(exc, ConfigError | CaptureError | StoreInUse) else 1)


if __name__ == "__main__":
    main()
