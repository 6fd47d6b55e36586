"""Starts, supervises and stops the daemon: `python -m longwatch.daemon.main CONFIG`."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..memory.errors import StorageError, StoreInUse
from ..retrieval.errors import RetrievalError
from .config import DaemonConfig, load_config
from .errors import CaptureError, ConfigError, DaemonError
from .log import get_logger, set_up
from .server.openfiles import raise_limit
from .stop_signals import StopSignals

if TYPE_CHECKING:
    from ..memory.store import Store
    from .engine import Engine
    from .parts import Parts
    from .server.server import Server

_SWITCH_SECONDS = 0.001  # the longest that Python code on the engine's thread keeps the server's waiting
_log = get_logger("main")


class _Stopped(Exception):
    """A signal came before the daemon began to watch."""


def serve(config: DaemonConfig, signals: StopSignals) -> None:
    """Runs a daemon until a signal tells it to stop. On return all that was encoded is durable.

    Raises:
        DaemonError, StorageError, RetrievalError: it cannot start, or the last blocks could not be written.
    """
    with signals.end_at_once(_log_nothing_begun):
        from .parts import Parts  # here and not above: torch takes seconds, and a mistake in the file is told before

    def stop_if_told(_: float) -> None:
        if signals.came.is_set():
            raise _Stopped

    store = _open_store(config)
    try:
        loading = functools.partial(signals.end_at_once, functools.partial(_close_unused, store))
        _watch(Parts.load(config, store, loading=loading, on_progress=stop_if_told), signals)
    except _Stopped:
        _log.info("stopped during the calibration; the next start begins it again")
    finally:
        store.close()
    if store.writer.lost_blocks:
        _log.warning("stopped; some blocks were lost, all others are durable", lost=store.writer.lost_blocks)
    else:
        _log.info("stopped, all blocks durable")


def _open_store(config: DaemonConfig) -> Store:
    from ..memory.store import Store

    store = Store(config.memory)
    for notice in store.notices:
        _log.warning(notice)
    for day, why in store.broken.items():
        _log.error("a day's file cannot be read; its blocks are not found", day=day, why=why)
    return store


def _watch(parts: Parts, signals: StopSignals) -> None:
    """Watches and answers until a signal comes."""
    from .engine import Engine
    from .server.server import Server

    def on_event(stream: str, kind: str, start_ns: int, end_ns: int, text: str) -> None:
        server.publish(stream, kind, start_ns, end_ns, text)

    engine = Engine(parts, on_event)
    server = Server(parts.config.server, engine)
    try:
        server.start()
        engine.start()
        _log.info("ready", address=server.address, streams=sorted(parts.config.streams))
        while not signals.came.wait(1.0):
            _supervise(engine, server)
    finally:
        _log.info("stopping")
        engine.stop()
        server.stop()


def _supervise(engine: Engine, server: Server) -> None:
    """Starts again what has died. If that fails, say because no thread can be started, it is tried again later."""
    for supervise in (functools.partial(_revive, server, engine), engine.supervise):
        try:
            supervise()
        except Exception:
            _log.exception("supervising failed")


def _revive(server: Server, engine: Engine) -> None:
    if not server.alive:
        engine.restarts += 1
        _log.error("the server died, starting it again")
        server.start()


def _take_own_session() -> None:
    """Leaves the session of whoever started the daemon, unless a terminal is to stop it.

    Linux shares processors between sessions before it shares them between the processes of one (sched(7), autogroup).
    So a daemon that a script has started gets half of a busy machine, as a service would.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        with contextlib.suppress(OSError):  # it leads a process group, or has a session of its own already
            os.setsid()


def _log_nothing_begun() -> None:
    _log.info("stopped before anything was begun")


def _close_unused(store: Store) -> None:
    store.close()
    _log.info("stopped before the model was loaded; nothing was stored")


def main() -> None:
    """Runs the process. If the daemon cannot run: one sentence on stderr, and an exit code."""
    if len(sys.argv) != 2:
        print("usage: python -m longwatch.daemon.main CONFIG", file=sys.stderr)
        sys.exit(2)
    faulthandler.enable()  # if a library crashes, the log says where
    signals = StopSignals()
    _take_own_session()
    raise_limit()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        config = load_config(Path(sys.argv[1]))
        set_up(level=config.log.level, as_json=config.log.json)
        serve(config, signals)
        gc.freeze()  # or Python would look at every object of torch before it ends: seconds on a busy machine
    except (DaemonError, StorageError, RetrievalError) as exc:
        print(f"longwatch: {exc}", file=sys.stderr)
        sys.exit(2 if isinstance(exc, ConfigError | CaptureError | StoreInUse) else 1)


if __name__ == "__main__":
    main()
