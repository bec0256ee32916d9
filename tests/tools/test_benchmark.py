from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lmk3d.io import read_image

TOOLS = Path(__file__).parents[2] / "tools"


def module_of(name: str):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tools():
    """The two modules of the benchmark, as the command line sees them."""
    before = set(sys.modules)
    contestants, benchmark = module_of("contestants"), module_of("benchmark")
    yield contestants, benchmark
    for name in {"contestants", "benchmark"} - before:
        del sys.modules[name]


@pytest.fixture(scope="module")
def job(tools, tmp_path_factory):
    return tools[0].Job("targets", "", 16, 2, 1, str(tmp_path_factory.mktemp("benchmark")))


QUICK = [
    ("targets", "lmk3d"),
    ("targets", "monai"),
    ("decoding", "lmk3d"),
    ("decoding", "argmax"),
    ("decoding", "centre of mass"),
    ("training", "lmk3d"),
    ("training", "monai"),
]


@pytest.mark.parametrize(("case", "tool"), QUICK)
def test_contestant_says_how_long_it_took(tools, job, case, tool):
    result = tools[0].CASES[case].tools[tool](replace(job, case=case))
    assert result["seconds"] > 0
    json.dumps(result)


def test_cases_with_files_run_on_what_prepare_writes(tools, job, capsys):
    contestants, _ = tools
    contestants.prepare(replace(job, case="predict"))
    for case in ("stage1", "refinement"):
        assert contestants.CASES[case].tools["lmk3d"](job)["seconds"] > 0
    steps = contestants.predict_lmk3d(job)["steps"]
    assert {"read", "detect"} <= set(steps)
    assert "2 of 2 landmarks" in capsys.readouterr().out  # all are refined, though random weights see nothing
    contestants.predict_monai(job)
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])) == 2


def test_decoding_below_a_voxel_beats_the_highest_voxel(tools, job):
    contestants, _ = tools
    job = replace(job, size=32, landmarks=6)
    assert contestants.decoding_lmk3d(job)["error_vox"] < 0.5 * contestants.decoding_argmax(job)["error_vox"]


def test_contestants_of_the_sliding_window_agree(tools, job):
    contestants, _ = tools
    job = replace(job, size=32)
    mine, theirs = contestants.sliding_lmk3d(job)["points_vox"], contestants.sliding_monai(job)["points_vox"]
    for pair in zip(mine, theirs, strict=True):
        assert max(abs(a - b) for a, b in zip(*pair, strict=True)) < 0.1


def test_each_result_is_one_line_and_is_compared_with_lmk3d(tools, job, capsys, monkeypatch):
    _, benchmark = tools
    results = {
        "prepare": {},
        "lmk3d": {"seconds": 2.0, "peak_mb": 100, "points_vox": [[0.0, 0.0, 0.0]]},
        "monai": {"seconds": 7.0, "peak_mb": 450, "points_vox": [[0.0, 3.0, 4.0]]},
    }
    monkeypatch.setattr(benchmark, "run_child", lambda one, given: dict(results[one.tool]))
    benchmark.measure(benchmark.arguments(["sliding", "predict", "--size", "64", "--landmarks", "1"]), "")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["case"], line["tool"]) for line in lines] == [
        ("sliding", "lmk3d"), ("sliding", "monai"), ("predict", "lmk3d"), ("predict", "monai")
    ]  # fmt: skip
    assert lines[1]["times_as_long"] == 3.5
    assert lines[1]["times_the_memory"] == 4.5
    assert lines[1]["points_apart_vox"] == [5.0]
    assert "points_vox" not in lines[1]


def test_a_failing_contestant_leaves_the_others_alone(tools, job, capsys, monkeypatch):
    _, benchmark = tools
    answers = iter([{"failed": "MemoryError", "after_s": 1.0}, {"seconds": 7.0, "peak_mb": None}])
    monkeypatch.setattr(benchmark, "run_child", lambda one, given: next(answers))
    benchmark.measure(benchmark.arguments(["targets", "--size", "64", "--landmarks", "1"]), "")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["failed"] == "MemoryError"
    assert "times_as_long" not in second


def test_floor_is_measured_in_turn_and_the_median_of_processor_seconds_counts(tools, capsys, monkeypatch):
    _, benchmark = tools
    taken = {"lmk3d": iter([3.0, 9.0, 2.4]), "floor": iter([2.0, 1.9, 8.0]), "prepare": iter([0.0])}
    turns = []

    def run(one, given):
        turns.append(one.tool)
        return {"seconds": 1.0, "peak_mb": 100, "cpu_s": next(taken[one.tool])}

    monkeypatch.setattr(benchmark, "run_child", run)
    benchmark.measure(benchmark.arguments(["floor", "--repeat", "3"]), "")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert turns == ["prepare", *["lmk3d", "floor"] * 3]
    assert (first["cpu_s"], second["cpu_s"]) == (3.0, 2.0)
    assert second["times_the_cpu"] == 0.667


def test_scan_like_a_ct_is_read_and_predicted_on(tools, tmp_path):
    contestants, benchmark = tools
    job = contestants.Job("floor", "", 32, 14, 1, str(tmp_path))
    contestants.prepare(job)
    volume = read_image(job.image)
    assert volume.grid.shape == (32, 32, 32)
    assert -1100 < volume.data.min() < -1000
    assert volume.notes == ()
    given = benchmark.arguments(["--memory", "0"])
    taken = [benchmark.run_child(replace(job, tool=tool), given) for tool in ("lmk3d", "floor")]
    assert all(one["seconds"] > 0 and "failed" not in one for one in taken)
    assert (tmp_path / "out" / "ct_like_32.mrk.json").is_file()
    assert "failed" in benchmark.run_child(replace(job, tool="lmk3d", size=33), given)  # a file that is not there


def test_trust_is_measured_with_and_without_a_calibration(tools, tmp_path):
    contestants, benchmark = tools
    job = contestants.Job("trust", "", 48, 14, 1, str(tmp_path))
    contestants.prepare(job)
    given, assessed = benchmark.arguments(["--memory", "0"]), []
    for tool in ("lmk3d", "without"):
        assert "failed" not in benchmark.run_child(replace(job, tool=tool), given)
        manifest = json.loads((tmp_path / "out" / "cta_48.manifest.json").read_text(encoding="utf-8"))
        assessed.append(manifest["assessment"] is not None)
    assert assessed == [True, False]


def test_unknown_case_is_named(tools, capsys):
    with pytest.raises(SystemExit):
        tools[1].arguments(["predikt"])
    assert "unknown case 'predikt'; the cases are targets," in capsys.readouterr().err


def test_command_line_measures_in_a_process_of_its_own():
    command = [
        sys.executable,
        TOOLS / "benchmark.py",
        "targets",
        "--tools",
        "lmk3d",
        "--size",
        "16",
        "--landmarks",
        "2",
    ]
    done = subprocess.run([*command, "--repeat", "1"], capture_output=True, text=True, check=True)
    line = json.loads(done.stdout)
    assert (line["case"], line["tool"], line["size"], line["landmarks"]) == ("targets", "lmk3d", 16, 2)
    assert 0 < line["seconds"] < 10
    assert line["peak_mb"] is None or line["peak_mb"] > 20


def test_command_line_says_why_a_contestant_failed():
    command = [
        sys.executable,
        TOOLS / "benchmark.py",
        "targets",
        "--tools",
        "lmk3d",
        "--size",
        "-1",
        "--landmarks",
        "2",
    ]
    done = subprocess.run([*command, "--repeat", "1"], capture_output=True, text=True, check=True)
    assert "Error" in json.loads(done.stdout)["failed"]
