"""Where a stream's time steps: the machine's clock is set, a recording pauses; and the times written in recordings."""

from __future__ import annotations

import itertools

import pytest

from longwatch.daemon.capture.clock import StreamClock, gap_of, in_words
from longwatch.daemon.capture.message import Gap, StillFrame
from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.capture.written_times import WrittenTimes

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
NOON_NS = 1_772_452_800 * SECOND_NS


def steps(times: list[tuple[float, float]], *, recorded: bool = False, fps: float = 1.0) -> list[int]:
    """Whole seconds by which the time stepped before each frame, given its time and when it came, in seconds."""
    clock = StreamClock(SourceConfig(url="http://cam/", fps=fps))
    frames = [StillFrame(int(t * SECOND_NS), 0, 0, int(arrived * SECOND_NS), recorded) for t, arrived in times]
    return [round(clock.measure_step(frame) / SECOND_NS) for frame in frames]


def test_a_clock_that_is_set_steps_once_and_then_goes_on() -> None:
    assert steps([(7200, 1), (7201, 2), (3, 3), (4, 4)]) == [0, 0, -7199, 0]
    assert steps([(5, 1), (6, 2), (86_407, 3), (86_408, 4)]) == [0, 0, 86_400, 0]


def test_jitter_and_a_clock_that_is_turned_slowly_are_no_step() -> None:
    assert steps([(10, 10), (10.8, 11), (12.1, 12), (11.9, 12.5)]) == [0, 0, 0, 0]
    assert steps([(0, 1), (86_440, 86_401)]) == [0, 0]  # 460 parts in a million, for a day without a frame


def test_a_camera_that_was_away_is_no_step() -> None:
    assert steps([(0, 1), (3600, 3601)]) == [0, 0]


def test_a_recording_steps_where_it_pauses_and_nowhere_else() -> None:
    assert steps([(0, 1), (1, 2), (36_000, 2.1)], recorded=True) == [0, 0, 35_999]
    assert steps([(0, 1), (8, 1.1), (9, 30)], recorded=True) == [0, 0, 0]  # it is read slowly
    assert steps([(0, 0), (1, 0), (36_000, 0)], recorded=True) == [0, 0, 35_999]  # as fast as can be
    assert steps([(0, 0), (100, 0), (200, 0)], recorded=True, fps=0.01) == [0, 0, 0]


@pytest.mark.parametrize(
    ("step_ns", "before_ns", "frame_ns", "gap"),
    [
        (24 * HOUR_NS, NOON_NS, NOON_NS + 24 * HOUR_NS, (0, 24 * HOUR_NS, "the clock was set ahead by 1 day")),
        (
            -2 * HOUR_NS,
            NOON_NS,
            NOON_NS - 2 * HOUR_NS + SECOND_NS,
            (-2 * HOUR_NS, -2 * HOUR_NS + SECOND_NS, "the clock was set back by 2 h"),
        ),
        (0, NOON_NS, NOON_NS + 60 * SECOND_NS, (0, 60 * SECOND_NS, "it broke")),
        (0, NOON_NS, NOON_NS - SECOND_NS // 2, (-SECOND_NS // 2, -SECOND_NS // 2, "it broke")),
    ],
)
def test_a_gap_never_ends_before_it_begins(
    step_ns: int, before_ns: int, frame_ns: int, gap: tuple[int, int, str]
) -> None:
    found = gap_of(step_ns, before_ns, StillFrame(frame_ns, 0, 0), "" if step_ns else "it broke")
    assert found == Gap(NOON_NS + gap[0], NOON_NS + gap[1], gap[2], step_ns)


def test_a_camera_that_broke_while_the_clock_was_set_back_was_away_as_long_as_it_was() -> None:
    gap = gap_of(-2 * HOUR_NS, NOON_NS, StillFrame(NOON_NS - 2 * HOUR_NS + 60 * SECOND_NS, 0, 0), "it broke")
    assert gap.end_ns - gap.start_ns == 60 * SECOND_NS
    assert gap.reason == "it broke; the clock was set back by 2 h"


def test_lengths_of_time_are_said_as_people_do() -> None:
    said = [in_words(int(seconds * SECOND_NS)) for seconds in (1.5, 90, 7199, 86_400, 129_600)]
    assert said == ["1.5 s", "1.5 min", "2 h", "1 day", "1.5 days"]


def taken(written_ms: list[float], frame_ms: int = 100) -> list[float]:
    times = WrittenTimes(frame_ms * 1_000_000)
    return [times.take(written) / 1e6 for written in written_ms]


def test_written_times_that_rise_are_taken_as_they_are() -> None:
    assert taken([0, 100, 250, 36_000_000]) == [0, 100, 250, 36_000_000]


def test_small_steps_back_shift_nothing_for_good() -> None:
    times = taken([0, -50, 200, 150, 400, 350, 600, 550, 800])
    assert times == [0, 100, 200, 250, 400, 450, 600, 650, 800]


def test_a_second_piece_in_a_file_goes_on_behind_the_first() -> None:
    assert taken([0, 1000, 2000, 0, 1000, 2000, 0]) == [0, 1000, 2000, 2100, 3100, 4100, 4200]
    assert taken([5000, 6000, 7000, 0, 1000]) == [5000, 6000, 7000, 7100, 8100]


def test_frames_without_any_time_stand_one_frame_apart() -> None:
    assert taken([0, 0, 0, float("nan"), 0]) == [0, 100, 200, 300, 400]


def test_written_times_always_rise() -> None:
    times = taken([0, 700, 100, 650, 600, 5000, 4100, 4200, 10, 0, 20, 15, 90_000, 10])
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
