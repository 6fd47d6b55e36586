"""`Scene`: a rendered yard before a fixed camera, and the truth about it at every second.

Deterministic by seed and seekable: what stands in the yard at a second is drawn from numbers that belong to that
second's slots alone, so no second depends on one rendered before it. Knows nothing about models or memory.

In each lane one visitor at a time comes in from a side, stands in a column for some seconds, and leaves. Now and then a
person brings a bag or a box, leaves it behind, and minutes later another takes it. Some hours are empty, nights are
dark, and what comes is often like what came before, in another colour or in the same.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import YardError
from .paint import paint
from .state import HEIGHT, SECOND_NS, WIDTH, State
from .visit import LANE_SLOT_SECONDS, STORY_SLOTS, Visit, find_slot, make_story, make_visit

LANES = (1, 2, 3)
DEVICE_SLOT_SECONDS = {"door": 75.0, "lamp": 110.0, "gate": 95.0, "sign": 140.0}
RAIN_SLOT_SECONDS, GUST_SLOT_SECONDS, GUST_SECONDS = 1200.0, 400.0, 5.0
_PURPOSES = {"door": 10, "lamp": 11, "sign": 12, "gate": 13, "rain": 14, "gust": 15, "activity": 16, "story": 17}
_BEYOND_NS = 9_214_646_400 * SECOND_NS  # 2262-01-01; nanoseconds fit 64 bits for three months more
_OPTIONS = ("seed", "start", "minutes", "busy", "size")


@dataclass(frozen=True)
class Scene:
    """A yard with its own history.

    Args:
        seed: which yard; another seed is another history.
        start_ns: UTC time of second 0.
        duration_seconds: where the stream ends, or None for never.
        busy: probability that a lane has a visit in a minute of the first hour; later hours have more, less or none.
        width, height: of the pictures; they are drawn at 384 × 288 and scaled.
    """

    seed: int = 0
    start_ns: int = 0
    duration_seconds: float | None = None
    busy: float = 0.3
    width: int = WIDTH
    height: int = HEIGHT

    @classmethod
    def from_url(cls, url: str) -> Scene:
        """Reads `scene://?seed=7&start=2026-03-02T14:00:00&minutes=30&busy=0.3&size=640x480`.

        Raises:
            YardError: a key is unknown or a value is out of range.
        """
        options = dict(parse_qsl(urlsplit(url).query))
        if unknown := set(options) - set(_OPTIONS):
            raise YardError(f"{url}: unknown {sorted(unknown)[0]!r}; a scene takes {', '.join(_OPTIONS)}")
        try:
            minutes = float(options["minutes"]) if "minutes" in options else None
            seed, busy = int(options.get("seed", 0)), float(options.get("busy", 0.3))
            width, height = (int(pixels) for pixels in options.get("size", f"{WIDTH}x{HEIGHT}").split("x"))
        except ValueError as exc:
            raise YardError(f"{url}: {exc}") from exc
        if seed < 0 or not 0 <= busy <= 1 or (minutes is not None and not 0 < minutes < math.inf):
            raise YardError(f"{url}: seed must be ≥ 0, busy between 0 and 1, minutes above 0")
        if not (64 <= width <= 3840 and 64 <= height <= 2160) or width % 2 or height % 2:
            raise YardError(f"{url}: size must be even numbers from 64x64 to 3840x2160")
        start_ns = time.time_ns() // SECOND_NS * SECOND_NS
        if "start" in options:
            start_ns = _read_start(url, options["start"])
        _check_time(start_ns + int(min(minutes or 0, 1e9) * 60 * SECOND_NS), f"{url}: its end")
        return cls(
            seed=seed,
            start_ns=start_ns,
            duration_seconds=None if minutes is None else minutes * 60,
            busy=busy,
            width=width,
            height=height,
        )

    def state(self, t_seconds: float) -> State:
        """What is true at a second."""
        things = []
        for lane in LANES:
            for visit in self._lane_visits(lane, find_slot(lane, t_seconds)):
                x = visit.find_x(t_seconds)
                if x is not None and 0 <= x < WIDTH:
                    things.append(visit.seen_at(x))
        return State(
            things=tuple(sorted(things, key=lambda thing: (thing.lane, thing.x))),
            door_open=self._device("door", t_seconds) < 0.5,
            lamp_on=self._device("lamp", t_seconds) < 0.5,
            gate_open=self._device("gate", t_seconds) < 0.5,
            digit=int(self._device("sign", t_seconds) * 10),
            light=self._light(t_seconds),
            rain=self._draw("rain", t_seconds // RAIN_SLOT_SECONDS) < 0.15,
            shake=self._shake(t_seconds),
        )

    def visits(self, since: float, until: float) -> Iterator[Visit]:
        """Every visit whose stay touches `[since, until]` (seconds), lane by lane."""
        for lane in LANES:
            slots = range(find_slot(lane, since), find_slot(lane, until) + 1)
            found = (visit for slot in slots for visit in self._lane_visits(lane, slot))
            for visit in dict.fromkeys(found):
                if visit.start <= until and visit.end >= since:
                    yield visit

    def truth(self, since: float, until: float) -> list[dict[str, object]]:
        """The truth log: one entry per change, in time order.

        Keys: `time_ns` (UTC), `event` (`enter`, `leave`, `left`, `taken`, `door`, `lamp`, `gate`, `sign`), `what`
        (`red car`, `open`, `on`, `7`), and for `left` and `taken` also `by`. A thing that a person brings enters with
        the person, is left when the person departs, and is taken when another does.
        """
        changes: list[tuple[float, dict[str, object]]] = []
        for visit in self.visits(since, until):
            changes.append((visit.start, {"event": "enter", "what": visit.name}))
            changes.append((visit.end, {"event": "leave", "what": visit.name}))
            if visit.left_by:
                leaver = next(v for v in self._story(visit) if v.name == visit.left_by and v.arrive == visit.arrive)
                changes.append((leaver.depart, {"event": "left", "what": visit.name, "by": visit.left_by}))
                changes.append((visit.depart, {"event": "taken", "what": visit.name, "by": visit.taken_by}))
        for device, seconds in DEVICE_SLOT_SECONDS.items():
            before = None
            for slot in range(int(since // seconds), int(until // seconds) + 1):
                now = _device_words(self.state(slot * seconds + 0.5))[device]
                if now != before:
                    changes.append((slot * seconds, {"event": device, "what": now}))
                before = now
        return [
            {"time_ns": self.start_ns + int(t * 1e9), **entry}
            for t, entry in sorted(changes, key=lambda change: change[0])
            if since <= t <= until
        ]

    def render(self, t_seconds: float) -> NDArray[np.uint8]:
        """The picture at a second: BGR, `[height, width, 3]`, with sensor noise."""
        rng = np.random.default_rng([self.seed, int(t_seconds * 1000)])
        image = paint(self.state(t_seconds), self.seed, rng)
        if (self.width, self.height) == (WIDTH, HEIGHT):
            return image
        scaled: NDArray[np.uint8] = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return scaled

    def _draw(self, purpose: str, slot: float) -> float:
        return _uniform(self.seed, _PURPOSES[purpose], int(slot))

    def _device(self, device: str, t_seconds: float) -> float:
        return self._draw(device, t_seconds // DEVICE_SLOT_SECONDS[device])

    def _light(self, t_seconds: float) -> float:
        """Clouds that drift, and the night from 20:30 to 5:30 with half an hour of dusk on either side."""
        hour = (self.start_ns / 1e9 + t_seconds) % 86_400 / 3600
        from_noon = abs(hour - 13)
        night = min(1.0, max(0.0, (from_noon - 7.0) * 2))
        return (1.0 - 0.55 * night) * (1.0 + 0.12 * math.sin(t_seconds / 97.0 + self.seed))

    def _shake(self, t_seconds: float) -> tuple[int, int]:
        """Now and then a gust moves the camera by a pixel or two."""
        slot = t_seconds // GUST_SLOT_SECONDS
        strength, begin = self._draw("gust", slot), slot * GUST_SLOT_SECONDS + 60
        if strength > 0.4 or not begin <= t_seconds < begin + GUST_SECONDS:
            return (0, 0)
        rng = np.random.default_rng([self.seed, int(t_seconds * 1000), 3])
        right, down = rng.integers(-2, 3, 2)
        return int(right), int(down)

    def _activity(self, t_seconds: float) -> float:
        """How busy an hour is: the first as told, later ones from none to one and a half times."""
        hour = t_seconds // 3600
        draw = self._draw("activity", hour)
        if hour == 0:
            return self.busy
        return 0.0 if draw < 0.3 else min(1.0, self.busy * (0.5 + 1.43 * (draw - 0.3)))

    def _lane_visits(self, lane: int, slot: int) -> tuple[Visit, ...]:
        """What comes into a lane in a slot: nothing, a visit, or the story that the slot is part of."""
        busy = self._activity(slot * LANE_SLOT_SECONDS)
        first = slot // STORY_SLOTS * STORY_SLOTS
        if _uniform(self.seed, _PURPOSES["story"] + 10 * lane, first) < 0.4 * self._activity(first * LANE_SLOT_SECONDS):
            return make_story(self.seed, lane, first)
        visit = make_visit(self.seed, lane, slot, busy)
        return () if visit is None else (visit,)

    def _story(self, visit: Visit) -> tuple[Visit, ...]:
        return self._lane_visits(visit.lane, find_slot(visit.lane, visit.start))


def _read_start(url: str, text: str) -> int:
    """UTC nanoseconds; a time without an offset is UTC."""
    try:
        start = datetime.fromisoformat(text)
        start_ns = int(start.replace(tzinfo=start.tzinfo or UTC).timestamp()) * SECOND_NS
    except (ValueError, OverflowError) as exc:
        raise YardError(f"{url}: start {text!r} is no time; write it as 2026-03-02T14:00:00") from exc
    _check_time(start_ns, f"{url}: start {text!r}")
    return start_ns


def _check_time(time_ns: int, what: str) -> None:
    if not 0 <= time_ns < _BEYOND_NS:
        raise YardError(f"{what} is before 1970 or after 2261; times must lie between")


def _device_words(state: State) -> dict[str, str]:
    return {
        "door": "open" if state.door_open else "closed",
        "lamp": "on" if state.lamp_on else "off",
        "gate": "open" if state.gate_open else "closed",
        "sign": str(state.digit),
    }


@functools.lru_cache(maxsize=8192)
def _uniform(seed: int, purpose: int, slot: int) -> float:
    return float(np.random.default_rng([seed, purpose, slot + 2**31]).random())
