"""``lmk3d view`` and ``lmk3d report``: what they write, serve and refuse."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import numpy as np
import pytest

from lmk3d.cli import main
from lmk3d.evaluation import evaluate_points
from lmk3d.io import read_points, write_image, write_points
from lmk3d.landmarks import Assessment, Landmarks


@pytest.fixture
def scan(tmp_path, bright_volume, monkeypatch):
    """A scan in two formats and points of it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("scan.nii.gz", "scan.mha"):
        write_image(bright_volume, tmp_path / name)
    peak = bright_volume.grid.to_mm((1, 2, 3))
    write_points(Landmarks(("peak", "gone"), [peak, [np.nan] * 3]), tmp_path / "truth.mrk.json")
    write_points(Landmarks(("peak",), [peak + 1.0], [0.5]), tmp_path / "found.csv")
    write_points(Landmarks(("other",), [peak]), tmp_path / "other.csv")
    (tmp_path / "there.html").write_text("mine", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.mha"])
def test_view_writes_one_page_of_any_format(name, scan, capsys):
    assert main(["view", name, "truth.mrk.json", "found.csv", "--output", "page.html"]) == 0
    assert capsys.readouterr().out == "wrote page.html\n"
    page = (scan / "page.html").read_text(encoding="utf-8")
    assert f"<h1>{name}</h1>" in page
    assert '<td data-value="1.73' in page  # root of 3
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)


def test_view_says_whether_points_are_trusted(scan, capsys, bright_volume):
    peak = bright_volume.grid.to_mm((1, 2, 3))
    write_points(Landmarks(("peak",), [peak], assessment=Assessment(("no CT",), ("",))), "doubted.csv")
    assert main(["view", "scan.mha", "doubted.csv", "--output", "page.html"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["NOT TRUSTED: the scan is unlike the training data", "  - no CT"]


def test_view_says_what_lies_outside(scan, capsys):
    near = read_points("truth.mrk.json").points_mm[0]
    write_points(Landmarks(("near", "far"), [near, [900.0, 0, 0]]), scan / "far.csv")
    assert main(["view", "scan.mha", "far.csv", "--output", "page.html"]) == 0
    assert "Outside the image: far.\n" in capsys.readouterr().out


def test_view_serves_until_it_is_interrupted(scan):
    # A gate that runs in the background has its children ignore interrupts.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code += "; from lmk3d.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "view", "scan.mha", "truth.mrk.json", "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        try:
            with urlopen(re.search(r"http://127\.0\.0\.1:\d+/", line)[0], timeout=30) as answer:
                assert b"<h1>scan.mha</h1>" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
        assert process.wait(timeout=30) == 0


def test_view_opens_the_browser_at_its_page(scan, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("lmk3d.pages.PageServer.serve_forever", lambda self: None)
    assert main(["view", "scan.mha", "truth.mrk.json"]) == 0
    assert opened == [re.search(r"http://\S+/", capsys.readouterr().out)[0]]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["view", "none.mha", "truth.mrk.json"], "none.mha: no such file or folder"),
        (["view", "scan.mha"], "POINTS"),
        (["view", "scan.mha", "none.csv"], "none.csv: no such file"),
        (
            ["view", "scan.mha", "truth.mrk.json", "other.csv"],
            "have no name in common (peak, gone, ... and other, ...)",
        ),
        (["view", "scan.mha", "truth.mrk.json", "found.csv", "other.csv"], "3 files of points are too many"),
        (["view", "scan.mha", "found.csv", "--output", "there.html"], "there.html: exists already"),
        (["view", "scan.mha", "found.csv", "--output", "page.png"], "page.png: is a web page; end its name in .html"),
        (["view", "scan.mha", "found.csv", "--output", "no/page.html"], "cannot be written"),
        (["view", "scan.mha", "found.csv", "--port", "70000"], "port 70000: cannot be used"),
        (["view", "scan.mha", "found.csv", "--port", "soon"], "invalid int value: 'soon'"),
        (["report", "none"], "none: no such folder"),
        (["report", "."], ".: holds no results"),
        (["report", ".", "--output", "there.html"], "there.html: exists already"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(words, line, scan, capsys):
    before = {path: path.read_bytes() for path in scan.iterdir()}
    assert main([*words, *(["--no-browser"] if words[0] == "view" else [])]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in scan.iterdir()} == before


def test_a_port_that_is_taken_is_refused(scan, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["view", "scan.mha", "found.csv", "--no-browser", "--port", str(port)]) == 2
    assert f"port {port}: cannot be used" in capsys.readouterr().err


def test_report_is_written_into_the_folder_and_not_twice(tiny_dataset, tmp_path, capsys):
    evaluate_points(tiny_dataset.parent, tiny_dataset, tmp_path)
    capsys.readouterr()
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'report.html'}\n"
    assert "on tiny</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert main(["report", str(tmp_path)]) == 2
    assert main(["report", str(tmp_path), "--overwrite"]) == 0
