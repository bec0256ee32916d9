"""What a terminal shows of a long task."""

import io

import pytest

from lmk3d.terminal import StatusLine, bar, counted, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_text_takes_the_place_of_the_last_and_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "6")
    line = StatusLine(terminal := Terminal())
    line.show("epoch 1")
    line.show("two")
    line.clear()
    assert terminal.getvalue() == "\r\033[Kepoch\r\033[Ktwo\r\033[K"


def test_nothing_is_written_into_a_file():
    line = StatusLine(file := io.StringIO())
    line.show("epoch 1")
    line.clear()
    assert file.getvalue() == ""


@pytest.mark.parametrize(("done", "full"), [(-1.0, 0), (0.0, 0), (0.5, 12), (1.0, 24), (2.0, 24)])
def test_a_bar_is_filled_as_far_as_it_is_done(done, full):
    assert bar(done) == f"[{'#' * full}{'.' * (24 - full)}]"


def test_times_are_as_one_reads_them():
    assert [duration(seconds) for seconds in (0.04, 59.9, 60, 3599, 7300)] == [
        "0.0 s", "59.9 s", "1 min 0 s", "59 min 59 s", "2 h 1 min",
    ]  # fmt: skip


def test_one_is_singular():
    assert [counted(count, "case") for count in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
