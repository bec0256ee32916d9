"""Measure lmk3d against plain MONAI, and landmarker where it is installed: time and memory, one JSON line a result.

    python tools/benchmark.py                                      # everything; takes about an hour
    python tools/benchmark.py predict --size 512 --landmarks 5 100

targets      heatmaps of landmarks drawn at their true positions
decoding     sub-voxel positions read from noisy heatmaps, with the mean error
stage1       the cascade's first stage on a volume in memory
refinement   patches cut from a volume in memory and refined, per second
sliding      a U-Net over a whole volume window by window
predict      ``lmk3d predict`` from a .nii.gz in a new process, against a MONAI script that does the same
floor        ``lmk3d predict`` from a .nii.gz like a CT, against importing torch and nibabel and unpacking the file
trust        ``lmk3d predict`` with the shipped bundle, against the same without its calibration
training     steps of the cascade's training, against MONAI's U-Net with GenerateHeatmap

Each contestant runs in a process of its own on ``--threads`` processors, one after another. Seconds are the best of
``--repeat`` runs within that process, except for predict, floor and trust, where they are those of the whole process,
imports included; ``cpu_s`` are the process's seconds of all processors. The contestants of floor and trust run
``--repeat`` times in turn, and the median by ``cpu_s`` counts. Peak memory is that of the process. Networks have random
weights, which take as long as trained ones, but for floor and trust.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

from contestants import CASES, IN_TURN, NEED_FILES, Job, Result, prepare

ROOT = Path(__file__).resolve().parents[1]


def run_child(job: Job, given: argparse.Namespace) -> Result:
    """One measurement in its own process: what it says, its seconds and its peak memory, or why it failed."""
    bounds = ["--threads", str(given.threads), "--memory", str(given.memory)]
    command = [sys.executable, str(Path(__file__).resolve()), *bounds]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            [*command, "--child", json.dumps(asdict(job))],
            stdout=out,
            stderr=err,
            env={**os.environ, "OMP_NUM_THREADS": str(given.threads), "PYTHONPATH": str(ROOT)},
        )
        clock = threading.Timer(given.timeout, child.kill)
        clock.start()
        code, peak_mb, cpu_s = finished(child)
        seconds = time.perf_counter() - start
        clock.cancel()
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().strip().splitlines() or [""])
    if code not in (0, 3):  # 3: lmk3d predict does not trust the points, which takes as long
        last = "took too long" if seconds >= given.timeout else texts[1][-1][:300]
        return {"failed": last or f"exit code {code}", "after_s": round(seconds, 1)}
    result = json.loads(texts[0][-1]) if texts[0][-1].startswith("{") else {}  # of a command: its own words
    taken = seconds if CASES[job.case].whole_process or "seconds" not in result else result["seconds"]
    return {**result, "seconds": float(f"{taken:.4g}"), "cpu_s": cpu_s, "peak_mb": peak_mb}


def bound(threads: int, memory_gb: float) -> None:
    """Allow this process only so many processors, and no more memory than the machine can spare."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if memory_gb and find_spec("resource"):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory_gb * 2**30),) * 2)


def finished(child: subprocess.Popen[bytes]) -> tuple[int, int | None, float | None]:
    """Exit code, peak memory in MB and seconds of all processors; None where the system does not tell."""
    if not hasattr(os, "wait4"):
        return child.wait(), None, None
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return child.returncode, round(usage.ru_maxrss * unit / 1e6), round(usage.ru_utime + usage.ru_stime, 2)


def measure(given: argparse.Namespace, folder: str) -> None:
    """Run every contestant of every case asked for and print its line."""
    for name in given.cases or CASES:
        case = CASES[name]
        for size in given.size or case.sizes:
            for landmarks in given.landmarks or case.landmarks:
                job = Job(name, "", size, landmarks, given.repeat, folder)
                if name in NEED_FILES and "failed" in (written := run_child(replace(job, tool="prepare"), given)):
                    raise SystemExit(f"{name}: {written['failed']}")
                compare(job, given)


def in_turn(job: Job, tools: list[str], given: argparse.Namespace) -> dict[str, Result]:
    """The median run of each by its processor seconds, round and round, since a busy machine disturbs all alike."""
    runs: dict[str, list[Result]] = {tool: [] for tool in tools}
    for _ in range(given.repeat):
        for tool in tools:
            runs[tool].append(run_child(replace(job, tool=tool), given))
    medians = {}
    for tool, some in runs.items():
        failed = [run for run in some if "failed" in run]
        medians[tool] = failed[0] if failed else sorted(some, key=lambda run: run["cpu_s"] or 0)[len(some) // 2]
    return medians


def compare(job: Job, given: argparse.Namespace) -> None:
    """One case at one size: a line for each contestant."""
    first: Result = {}
    tools = [tool for tool in CASES[job.case].tools if not given.tools or tool in given.tools]
    tools = [tool for tool in tools if tool != "landmarker" or find_spec(tool)]
    medians = in_turn(job, tools, given) if job.case in IN_TURN else {}
    for tool in tools:
        result = medians.get(tool) or run_child(replace(job, tool=tool), given)
        points = result.pop("points_vox", None)
        if "seconds" in first and "seconds" in result:
            result["times_as_long"] = float(f"{result['seconds'] / first['seconds']:.3g}")
            if result["peak_mb"]:
                result["times_the_memory"] = float(f"{result['peak_mb'] / first['peak_mb']:.3g}")
            if result.get("cpu_s"):
                result["times_the_cpu"] = float(f"{result['cpu_s'] / first['cpu_s']:.3g}")
        if points and first.get("points"):
            result["points_apart_vox"] = [
                round(sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) ** 0.5, 3)
                for pair in zip(points, first["points"], strict=True)
            ]
        first = first or {**result, "points": points}
        line = {"case": job.case, "tool": tool, "size": job.size, "landmarks": job.landmarks, **result}
        print(json.dumps(line), flush=True)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)}; all when none is given")
    parser.add_argument("--size", type=int, nargs="+", metavar="VOXELS", help="side of the cube; else each case's own")
    parser.add_argument("--landmarks", type=int, nargs="+", metavar="N", help="how many; else each case's own")
    parser.add_argument("--tools", nargs="+", metavar="TOOL", help="only these contestants, such as lmk3d")
    parser.add_argument("--threads", type=int, default=2, help="processors for each contestant (default: 2)")
    parser.add_argument("--repeat", type=int, default=3, help="runs to take the best of (default: 3)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds after which one is stopped (1800)")
    parser.add_argument("--memory", type=float, default=16, help="GiB of address space for each, 0 for no bound (16)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if unknown := [name for name in given.cases if name not in CASES]:
        parser.error(f"unknown case {unknown[0]!r}; the cases are {', '.join(CASES)}")
    return given


def main() -> None:
    """Measure, or, in a child process, be measured."""
    given = arguments()
    if given.child:
        bound(given.threads, given.memory)
        job = Job(**json.loads(given.child))
        work = prepare if job.tool == "prepare" else CASES[job.case].tools[job.tool]
        print(json.dumps(work(job)))
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(given, folder)


if __name__ == "__main__":
    main()
