from __future__ import annotations

import pickle
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lmk3d import cluster
from lmk3d.cli import main
from lmk3d.cluster import RayEngine
from lmk3d.errors import InputError
from lmk3d.io import write_image
from lmk3d.landmarks import Assessment
from lmk3d.prediction import predict_files
from lmk3d.predictor import Job, Prediction, PredictOptions

ROOT = Path(__file__).parent.parent


class Lost(Exception):
    """Ray's error for a worker that is gone."""


@dataclass(eq=False)
class Call:
    job: Job | None
    end: object
    worker: int


class FakeRay:
    """Calls end in the order in which they were made; ``script`` says what becomes of each scan, call by call."""

    exceptions = SimpleNamespace(RayActorError=Lost)

    def __init__(self, script, *, workers_for_ever=99):
        self.script = {name: deque(ends) for name, ends in script.items()}
        self.left, self.done = workers_for_ever, []

    def start(self):
        self.left -= 1
        number = self.left

        def call(job=None):
            name = "load" if job is None else job.image.name
            ends = self.script.get(name)
            end = ends.popleft() if ends else None
            # A worker that the cluster has no room for never answers.
            return Call(job, end, number)

        return SimpleNamespace(load=SimpleNamespace(remote=call), predict=SimpleNamespace(remote=call))

    def wait(self, calls, *, num_returns):
        ready = [call for call in calls if call.worker >= 0]
        assert ready, "nothing would ever come"
        return ready[:num_returns], ready[num_returns:]

    def get(self, call):
        if isinstance(call.end, Lost):
            raise call.end
        if call.job is None:
            return call.end
        self.done.append((call.job.image.name, call.worker))
        return Prediction(call.job.image)


def crew(ray, *names):
    return cluster._Crew(ray, ray.start, deque(Job(Path(name), name) for name in names))


def test_scan_of_a_lost_worker_is_done_again_by_another():
    ray = FakeRay({"b": [Lost()]})
    results = list(crew(ray, "a", "b", "c", "d").work(2))
    assert sorted(result.image.name for result in results) == ["a", "b", "c", "d"]
    assert all(result.error is None for result in results)


def test_worker_without_a_scan_takes_that_of_a_lost_one_when_no_other_can_come():
    ray = FakeRay({"b": [Lost()]}, workers_for_ever=2)
    assert len(list(crew(ray, "a", "b").work(2))) == 2
    assert dict(ray.done)["b"] == dict(ray.done)["a"]  # the only one left


def test_scan_that_takes_its_workers_with_it_is_given_up():
    ray = FakeRay({"b": [Lost()] * 9})
    results = {result.image.name: result for result in crew(ray, "a", "b", "c").work(1)}
    assert str(results["b"].error) == "b: 3 workers were lost over it; is there memory enough for it?"
    assert results["a"].error is results["c"].error is None


def test_bundle_that_cannot_be_loaded_stops_the_run():
    with pytest.raises(InputError, match="no model"):
        list(crew(FakeRay({"load": [InputError("no model")]}), "a").work(2))
    with pytest.raises(InputError, match="3 workers were lost while they loaded the bundle"):
        list(crew(FakeRay({"load": [Lost()] * 9}), "a").work(2))


def test_worker_loads_once_and_its_errors_travel(fake_bundle, bright_volume, tmp_path):
    (tmp_path / "out").mkdir()
    worker = cluster._Worker(fake_bundle, tmp_path / "out", PredictOptions())
    assert worker.load() is None
    write_image(bright_volume, tmp_path / "scan.nii.gz")
    result = worker.predict(Job(tmp_path / "scan.nii.gz", "scan"))
    assert len(result.landmarks["brightest"]) == 1
    assert "no such file" in str(worker.predict(Job(tmp_path / "gone.nii", "gone")).error)
    (fake_bundle / "models" / "model.pt").unlink()
    assert "holds no models" in str(cluster._Worker(fake_bundle, tmp_path, PredictOptions()).load())


def test_what_a_worker_finds_travels_with_its_trust(fake_bundle, bright_volume, tmp_path, monkeypatch):
    doubtful = Assessment((), ("", "far off", ""))
    monkeypatch.setattr(sys.modules["lmk3d.inference"].LandmarkDetector, "assessment", doubtful)
    worker = cluster._Worker(fake_bundle, tmp_path, PredictOptions())
    assert worker.load() is None
    write_image(bright_volume, tmp_path / "scan.nii.gz")
    packed = pickle.dumps(worker.predict(Job(tmp_path / "scan.nii.gz", "scan")))
    result = pickle.loads(packed)  # noqa: S301 - our own bytes
    assert result.verdict == "doubtful"
    assert result.landmarks.assessment == doubtful
    assert not len(result.landmarks["beside"])


class Stubborn(ValueError):
    def __reduce__(self):
        raise TypeError("cannot be packed")


def test_error_that_cannot_be_packed_travels_as_its_text():
    assert repr(cluster._travelling(Stubborn("why"))) == "RuntimeError('Stubborn: why')"
    error = InputError("as it is")
    assert cluster._travelling(error) is error


def test_workers_get_the_cpus_of_the_smallest_machine_or_a_gpu_each():
    def nodes(*resources):
        return SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": r} for r in resources])

    assert cluster._room(nodes({"CPU": 16}, {"CPU": 9}), gpus=False) == 6  # 4 and 2 of four CPUs
    assert cluster._room(nodes({"CPU": 2}, {"CPU": 3}, {}), gpus=False) == 2  # of two each
    assert cluster._room(nodes({"CPU": 16, "GPU": 2}, {"CPU": 4}), gpus=True) == 2


def test_without_ray_or_a_cluster_one_line_says_so(fake_bundle, bright_volume, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_image(bright_volume, tmp_path / "scan.nii.gz")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["predict", "scan.nii.gz", "--ray", "auto", "--output", "out"]) == 2
    assert capsys.readouterr().err == "lmk3d: error: --ray needs Ray; install it with `pip install 'lmk3d[ray]'`\n"
    assert not (tmp_path / "out").exists()

    def init(**_options):
        raise ConnectionError("no cluster found")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert main(["predict", "scan.nii.gz", "--ray", "auto", "--output", "out"]) == 2
    assert "--ray auto: no cluster found; start one with `ray start --head`" in capsys.readouterr().err
    assert main(["predict", "scan.nii.gz", "--ray", "127.0.0.1:9", "--output", "out"]) == 2
    assert "--ray 127.0.0.1:9: nobody answers there (" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_batch_survives_the_loss_of_one_of_two_machines(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at Ray's own 15 a busy machine would let them wait for minutes
    from ray.cluster_utils import Cluster

    from lmk3d.synthetic import cta_phantom

    scans = tmp_path / "cohort"
    scans.mkdir()
    volume = cta_phantom(1, spacing_mm=6.0).volume
    for number in range(8):
        write_image(volume, scans / f"{number}.nii.gz")
    (scans / "3.nii.gz").write_text("no image", encoding="utf-8")
    machine = {"num_cpus": 1, "object_store_memory": 100_000_000}
    both = Cluster(initialize_head=True, head_node_args=machine)
    try:
        second = both.add_node(**machine)
        seen = []

        def kill_one(result):
            seen.append(result)
            if len(seen) == 2:
                both.remove_node(second, allow_graceful=False)

        bundle, out = ROOT / "bundles" / "cascade", tmp_path / "out"
        results = predict_files([scans], bundle, output=out, report=kill_one, engine=RayEngine(both.address))
    finally:
        both.shutdown()
    assert [result.image.name for result in results] == [f"{number}.nii.gz" for number in range(8)]
    assert [result.error is None for result in results] == [number != 3 for number in range(8)]
    assert "3.nii.gz" in str(results[3].error)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{number}.{ending}" for number in range(8) if number != 3 for ending in ("manifest.json", "mrk.json")
    )
    found = [result.landmarks.points_mm for result in results if result.error is None]
    assert all(np.allclose(points, found[0], equal_nan=True) for points in found)
