"""The report of an answer or a status, for people in a terminal and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

import msgspec
from rich.table import Table

from ..daemon.protocol import AnswerEnd, Explanation, StatusReply
from .when import clock, parse_zone

DOUBTFUL = 0.8
_OTHERS_SHOWN = 12  # candidates that were not recalled


def answer_json(end: AnswerEnd, saved: Sequence[Path | None]) -> str:
    """The answer as JSON, with paths in place of the pictures themselves."""
    content = msgspec.to_builtins(end)
    for evidence, path in zip(content["evidence"], saved, strict=True):
        evidence["picture"] = None if path is None else str(path)
    return msgspec.json.encode(content).decode()


def confidence_line(end: AnswerEnd) -> str:
    """How sure the answer is; of a doubtful one, so in words."""
    if end.confidence is None:
        return "the model was not asked"
    doubt = "; not sure, look at the pictures" if end.confidence < DOUBTFUL else ""
    return f"confidence {end.confidence:.2f}{doubt}"


def evidence_table(end: AnswerEnd, saved: Sequence[Path | None], zone: tzinfo) -> Table:
    """What the answer rests on, best first."""
    table = Table("from", "to", "use", "from the", "picture", box=None)
    for evidence, path in zip(end.evidence, saved, strict=True):
        table.add_row(
            clock(evidence.start_ns, zone),
            clock(evidence.end_ns, zone)[11:],
            f"{evidence.use:.2f}",
            "memory" if evidence.origin == "recalled" else "window",
            str(path or "-"),
        )
    return table


def explanation_lines(end: AnswerEnd, explanation: Explanation, zone: tzinfo) -> list[str]:
    """How the answer came about, in a few lines, without the candidates."""
    lines = [f"time: {_span(end.since_ns, end.until_ns, zone)}"]
    if explanation.words:
        lines[0] += f', from the words "{explanation.words}"'
    if explanation.event:
        seen = explanation.event_since_ns is not None
        when = _span(explanation.event_since_ns, explanation.event_until_ns, zone) if seen else "not found"
        lines.append(f'looked up: "{explanation.event}", {when}; asked as "{explanation.question}"')
    if explanation.present:
        lines.append("it is about now: nothing was recalled")
    lines += [f"part {number}: {text}" for number, text in enumerate(explanation.parts, 1)]
    tiers = Counter(candidate.tier for candidate in explanation.candidates if candidate.tier)
    lines.append(f"in the context: {', '.join(f'{count} from {tier}' for tier, count in tiers.items()) or 'nothing'}")
    total: dict[str, float] = {}
    for step in explanation.steps:
        total[step.name] = total.get(step.name, 0.0) + step.ms
    return [*lines, "ms: " + ", ".join(f"{name} {ms:.1f}" for name, ms in total.items())]


def candidates_table(explanation: Explanation, zone: tzinfo) -> Table:
    """The blocks that stood in the context, and the best of those that were ranked and did not."""
    table = Table("block", "from", "to", "score", "recalled from", "use", box=None)
    others = [candidate.block_id for candidate in explanation.candidates if not candidate.tier]
    left_out = set(others[_OTHERS_SHOWN:])
    if left_out:
        table.caption, table.caption_justify = f"and {len(left_out)} more with lower scores, which --json tells", "left"
    for candidate in explanation.candidates:
        if candidate.block_id in left_out:
            continue
        table.add_row(
            str(candidate.block_id),
            clock(candidate.start_ns, zone),
            clock(candidate.end_ns, zone)[11:],
            f"{candidate.score:.3f}",
            candidate.tier or "-",
            f"{candidate.use:.3f}" if candidate.tier else "-",
        )
    return table


def _span(since_ns: int | None, until_ns: int | None, zone: tzinfo) -> str:
    begin = "the beginning" if since_ns is None else clock(since_ns, zone)
    end = "now" if until_ns is None else clock(until_ns, zone)
    return "any" if since_ns is None and until_ns is None else f"{begin} to {end}"


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
    lines += (
        f"{each.stream} {each.day} will be forgotten, not before {clock(each.at_ns)} UTC ({each.reason})"
        for each in found.dropping
    )
    return [*lines, f"store: {found.store_error}"] if found.store_error else lines


def streams_table(found: StatusReply) -> Table:
    """A line a stream, times as in its own zone; the last error stands in place of the source's address."""
    table = Table("stream", "state", "frames", "dropped", "blocks", "durable id", "newest", "gaps", "source", box=None)
    for stream in found.streams:
        table.add_row(
            stream.name,
            stream.state,
            str(stream.frames),
            str(stream.dropped),
            str(stream.blocks),
            str(stream.durable_id),
            clock(stream.last_ns, parse_zone(stream.time_zone)) if stream.last_ns else "-",
            str(len(stream.gaps)),
            stream.last_error or stream.url,
        )
    return table
