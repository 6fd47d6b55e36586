"""The report of an answer or a status, for people in a terminal and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

import msgspec
from rich.table import Table

from ..daemon.protocol import AnswerEnd, StatusReply
from .when import clock


def answer_json(end: AnswerEnd, saved: Sequence[Path | None]) -> str:
    """The answer as JSON, with paths in place of the pictures themselves."""
    content = msgspec.to_builtins(end)
    for evidence, path in zip(content["evidence"], saved, strict=True):
        evidence["picture"] = None if path is None else str(path)
    return msgspec.json.encode(content).decode()


def evidence_table(end: AnswerEnd, saved: Sequence[Path | None], zone: tzinfo) -> Table:
    """What the answer rests on, best first."""
    table = Table("from", "to", "share", "from the", "picture", box=None)
    for evidence, path in zip(end.evidence, saved, strict=True):
        table.add_row(
            clock(evidence.start_ns, zone),
            clock(evidence.end_ns, zone)[11:],
            f"{evidence.score:.2f}",
            "memory" if evidence.origin == "recalled" else "window",
            str(path or "-"),
        )
    return table


def status_json(found: StatusReply) -> str:
    """The status as JSON."""
    return msgspec.json.encode(found).decode()


def status_lines(found: StatusReply) -> list[str]:
    """The daemon in a few lines, without its streams."""
    dead = [name for name, alive in found.threads.items() if not alive]
    health = "all threads alive" if not dead else f"dead or failing: {', '.join(dead)}"
    lines = [
        f"longwatch {found.version}, {found.model} on {found.device}, up {found.uptime_seconds:.0f} s",
        f"{health}; {found.restarts} restarts; retriever {found.retriever}; {found.answers_running} answers",
        f"process {found.process_bytes >> 20} MiB; blocks in RAM {found.ram_blocks} ({found.ram_bytes >> 20} MiB); "
        f"on disk {found.disk_bytes >> 20} MiB; {found.queued_blocks} waiting to be written",
    ]
    if found.damaged_blocks:
        lines.append(f"{found.damaged_blocks} blocks are damaged and left out of answers; the daemon's log names them")
    return [*lines, f"store: {found.store_error}"] if found.store_error else lines


def streams_table(found: StatusReply) -> Table:
    """A line a stream; the last error stands in place of the source's address."""
    table = Table("stream", "state", "frames", "dropped", "blocks", "durable", "newest", "gaps", "source", box=None)
    for stream in found.streams:
        table.add_row(
            stream.name,
            stream.state,
            str(stream.frames),
            str(stream.dropped),
            str(stream.blocks),
            str(stream.durable_id),
            clock(stream.last_ns) if stream.last_ns else "-",
            str(len(stream.gaps)),
            stream.last_error or stream.url,
        )
    return table
