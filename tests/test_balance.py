"""Answers and frames share an engine that cannot do all of both."""

from __future__ import annotations

from longwatch.daemon.balance import FRAMES_SHARE, Balance


def share_of_frames(answer_seconds: float, frame_seconds: float, turns: int = 4000) -> float:
    """Of the time of an engine on which both always wait."""
    balance, answers, frames = Balance(), 0.0, 0.0
    for _ in range(turns):
        answers += answer_seconds
        balance.note_answer(answer_seconds)
        if balance.lets_frames_in:
            frames += frame_seconds
            balance.note_frames(frame_seconds)
    return frames / (answers + frames)


def test_frames_have_their_share_and_no_more_however_long_a_step_of_either_takes() -> None:
    for answer_seconds, frame_seconds in ((0.01, 0.01), (0.002, 0.05), (0.05, 0.02), (0.01, 2.0)):
        share = share_of_frames(answer_seconds, frame_seconds)
        assert abs(share - FRAMES_SHARE) < 0.02, (answer_seconds, frame_seconds, share)


def test_frames_that_cost_little_come_with_every_turn() -> None:
    balance = Balance()
    for _ in range(1000):
        balance.note_answer(0.02)
        assert balance.lets_frames_in
        balance.note_frames(0.005)


def test_a_pause_in_the_questions_leaves_no_debt() -> None:
    balance = Balance()
    balance.note_frames(10.0)
    balance.note_silence()
    assert balance.lets_frames_in
