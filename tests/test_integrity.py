"""The books are checked while the daemon is idle; one that does not balance is counted and ends nothing."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from longwatch.daemon import integrity
from longwatch.daemon.integrity import IntegrityCheck


def fail() -> None:
    raise AssertionError("RAM holds 3 bytes, the books say 4")


def test_a_check_that_fails_is_logged_with_its_numbers_and_counted_and_the_others_run() -> None:
    ran: list[str] = []
    check = IntegrityCheck(fail, lambda: ran.append("second"))
    with capture_logs() as lines:
        check.run()
        check.run()
    assert (ran, check.failures) == (["second", "second"], 2)
    assert [(line["log_level"], line["error"]) for line in lines] == [
        ("error", "RAM holds 3 bytes, the books say 4"),
        ("error", "RAM holds 3 bytes, the books say 4"),
    ]


def test_checks_run_once_in_a_while_however_often_the_daemon_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    now, ran = [0.0], list[float]()
    monkeypatch.setattr(integrity.time, "monotonic", lambda: now[0])
    check = IntegrityCheck(lambda: ran.append(now[0]))
    for _ in range(150):
        now[0] += 1.0
        check.run_if_due()
    assert ran == [60.0, 120.0]
