"""Kinds of question about all that came between two times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from .asker import Asker
from .kind import MOST_LISTED, Kind, trim
from .moment import clock
from .question import Question
from .state import KINDS, Look, plural

_TRIES = 6
_FEW_MOMENTS = 64


@dataclass(frozen=True)
class ArrivalCount(Kind):
    """How many things of a kind came; the answer names them and ends with their number."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        wanted = int(asker.rng.integers(0, MOST_LISTED + 1))
        for _ in range(_TRIES):
            span = _draw_span(asker)
            if span.seen is None or any(asker.came_twice(look) for look in span.seen):
                continue
            by_kind = {kind: [look for look in span.seen if look.kind == kind] for kind in KINDS}
            fair = [kind for kind in KINDS if len(by_kind[kind]) == wanted]
            if fair:
                kind = asker.pick(fair)
                answer = f"{_list(by_kind[kind])}: {wanted}" if wanted else "none"
                shown = [asker.places(look, [span.seen[look]]) for look in by_kind[kind]]
                return asker.phrase(self.name, answer, shown, kinds=plural(kind), since=span.since, until=span.until)
        return None

    def agrees(self, truth: str, answer: str) -> bool:
        """The same number, whatever is listed before it."""
        said, true = (re.sub(r".*: ", "", text) for text in (trim(answer), truth))
        return said == true


@dataclass(frozen=True)
class Arrivals(Kind):
    """What came."""

    def draw(self, asker: Asker) -> Question | None:
        """See `Kind.draw`."""
        wanted = int(asker.rng.integers(0, MOST_LISTED + 1))
        for _ in range(_TRIES):
            span = _draw_span(asker)
            if span.seen is not None and len(span.seen) == wanted:
                shown = [asker.places(look, [i]) for look, i in span.seen.items()]
                answer = _list(list(span.seen)) or "nothing"
                return asker.phrase(self.name, answer, shown, since=span.since, until=span.until)
        return None


class _Span(NamedTuple):
    """A span of moments by its clocks.

    Attributes:
        seen: what is wholly seen in it, and at which moment first; None where something is seen only in part.
    """

    since: str
    until: str
    seen: dict[Look, int] | None


def _draw_span(asker: Asker) -> _Span:
    """Any span of few moments; of many seconds, one of half a minute to two and a half."""
    count = len(asker.moments)
    first = int(asker.rng.integers(count))
    longest = count if count <= _FEW_MOMENTS else int(asker.rng.integers(30, 150))
    last = min(count, first + int(asker.rng.integers(1, longest + 1))) - 1
    moments = asker.moments
    return _Span(clock(moments[first].time_ns), clock(moments[last].until_ns), _find_seen(asker, first, last))


def _find_seen(asker: Asker, first: int, last: int) -> dict[Look, int] | None:
    seen: dict[Look, int] = {}
    glimpsed = set[Look]()
    for i in range(first, last + 1):
        for thing in asker.moments[i].state.things:
            glimpsed.add(thing.look)
            if not thing.half_seen:
                seen.setdefault(thing.look, i)
    return seen if glimpsed <= set(seen) else None


def _list(looks: list[Look]) -> str:
    return " and ".join(look.with_article for look in looks)
