"""The report of an answer or a status, for people in a terminal and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

import msgspec
from rich.table import Column, Table

from ..daemon.protocol import AnswerEnd, Explanation, StatusReply
from .times import clock, parse_zone

DOUBTFUL = 0.8
_UNKNOWN = "i don't know"  # the model's answer when it cannot tell
_OTHERS_SHOWN = 12  # candidates that were not recalled


def answer_json(end: AnswerEnd, saved: Sequence[Path | None]) -> str:
    """The answer as JSON, with paths in place of the pictures themselves."""
    content = msgspec.to_builtins(end)
    for evidence, path in zip(content["evidence"], saved, strict=True):
        evidence["picture"] = None if path is None else str(path)
    return msgspec.json.encode(content).decode()


def confidence_line(end: AnswerEnd) -> str:
    """How sure the answer is, in words if it is doubtful. Empty if there is no answer to be sure of."""
    if end.confidence is None or end.text.strip().lower().rstrip(".") == _UNKNOWN:
        return ""
    doubt = "; not sure, look at the pictures" if end.confidence < DOUBTFUL else ""
    return f"confidence {end.confidence:.2f}{doubt}"


def evidence_table(end: AnswerEnd, saved: Sequence[Path | None], zone: tzinfo) -> Table:
    """What the answer rests on, best first. The weight is the share of the model's attention."""
    table = _make_table("from", "to", "weight", "seen", "picture")
    for evidence, path in zip(end.evidence, saved, strict=True):
        table.add_row(
            clock(evidence.start_ns, zone),
            clock(evidence.end_ns, zone)[11:],
            f"{100 * evidence.use:.0f} %",
            "past" if evidence.origin == "recalled" else "recent",
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
        lines.append("the question is about now, so nothing was recalled")
    lines += [f"part {number}: {text}" for number, text in enumerate(explanation.parts, 1)]
    tiers = Counter(candidate.tier for candidate in explanation.candidates if candidate.tier)
    lines.append(f"in the context: {', '.join(f'{count} from {tier}' for tier, count in tiers.items()) or 'nothing'}")
    total: dict[str, float] = {}
    for step in explanation.steps:
        total[step.name] = total.get(step.name, 0.0) + step.ms
    return [*lines, "ms: " + ", ".join(f"{name} {ms:.1f}" for name, ms in total.items())]


def candidates_table(explanation: Explanation, zone: tzinfo) -> Table:
    """The blocks that the model saw, and below them the best of those that were ranked and left out."""
    table = _make_table("block", "from", "to", "score", "recalled from", "weight")
    others = [candidate.block_id for candidate in explanation.candidates if not candidate.tier]
    left_out = set(others[_OTHERS_SHOWN:])
    if left_out:
        table.caption, table.caption_justify = f"and {len(left_out)} more with lower scores; --json lists them", "left"
    for candidate in explanation.candidates:
        if candidate.block_id in left_out:
            continue
        table.add_row(
            str(candidate.block_id),
            clock(candidate.start_ns, zone),
            clock(candidate.end_ns, zone)[11:],
            f"{candidate.score:.3f}",
            candidate.tier or "-",
            f"{100 * candidate.use:.1f} %" if candidate.tier else "-",
        )
    return table


def _make_table(*headings: str) -> Table:
    """A table that breaks a long path or address over lines, and never cuts it."""
    return Table(*(Column(heading, overflow="fold") for heading in headings), box=None)


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
    health = "healthy" if not dead else f"not working: {', '.join(dead)}"
    lines = [
        f"longwatch {found.version}, {found.model} on {found.device}, up {found.uptime_seconds:.0f} s",
        f"{health}; {found.restarts} restarts; {found.answers_running} questions being answered; "
        f"retriever {found.retriever}",
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
    """A line for each stream, with times in its own zone. A stream's last error replaces its source's address."""
    table = _make_table("stream", "state", "frames", "dropped", "blocks", "durable id", "newest", "gaps", "source")
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
