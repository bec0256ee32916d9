from __future__ import annotations

import io

from lmk3d.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_says_how_far_how_many_failed_and_how_long_it_takes(monkeypatch):
    now = iter([0.0, 30.0])
    monkeypatch.setattr("lmk3d.cli.progress.time.monotonic", lambda: next(now))
    monkeypatch.setenv("COLUMNS", "80")
    progress = Progress(terminal := Terminal())
    progress.draw(12, 48, 2, quick=False)
    assert terminal.getvalue() == f"\r\033[K[{'#' * 6}{'.' * 18}] 12 of 48, 2 failed, 1 min 30 s left"  # 30 s / 12 * 36


def test_scans_that_were_done_before_do_not_count_for_the_time(monkeypatch):
    now = iter([0.0, 10.0])
    monkeypatch.setattr("lmk3d.cli.progress.time.monotonic", lambda: next(now))
    progress = Progress(terminal := Terminal())
    progress.draw(1, 4, 0, quick=True)
    assert "left" not in terminal.getvalue()
    progress.draw(2, 4, 0)
    assert terminal.getvalue().endswith("2 of 4, 20.0 s left")  # 10 s for the one, two to come


def test_nothing_is_drawn_into_a_file_or_when_all_is_done():
    file, terminal = io.StringIO(), Terminal()
    Progress(file).draw(1, 2, 0)
    Progress(file).clear()
    Progress(terminal).draw(2, 2, 0)
    assert (file.getvalue(), terminal.getvalue()) == ("", "")


def test_bar_fits_a_narrow_terminal_and_is_taken_away(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    progress = Progress(terminal := Terminal())
    progress.draw(1, 2, 0)
    progress.clear()
    drawn, cleared = terminal.getvalue().split("\r\033[K")[1:]
    assert (len(drawn), cleared) == (19, "")
