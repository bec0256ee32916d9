"""Batches on a Ray cluster: each worker loads the bundle once, and the scans of a lost worker are done again."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmk3d.errors import InputError
from lmk3d.predictor import Loading, Prediction, Predictor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lmk3d.predictor import Job, PredictOptions

__all__ = ["RayEngine"]

# A scan that takes its worker with it, say for want of memory, would take all of them with it, one after the other.
_TRIES = 3
# CPUs of one worker; more of them make one scan little faster, and a second worker makes two scans twice as fast.
_CPUS = 4
_ANSWER_S = 5.0


@dataclass(frozen=True)
class RayEngine:
    """Does the jobs of ``predict_files`` on a cluster whose machines share the folders of scans, bundle and outputs.

    Args:
        address: of a running cluster ("auto" finds one on this machine); "local" starts one here and ends it.
    """

    address: str

    def __call__(self, jobs: list[Job], bundle: Path, output: Path, options: PredictOptions) -> Iterator[Prediction]:
        """Do the jobs.

        Args:
            jobs: the scans.
            bundle: folder of the bundle.
            output: folder to write to.
            options: how; the device "auto" is CUDA where the cluster has GPUs, one for each worker.
        Yields:
            The results, as they come.
        Raises:
            InputError: if Ray is not installed, there is no cluster at the address, or the bundle cannot be used.
        """
        ray = _ray()
        absolute = [replace(job, image=job.image.absolute()) for job in jobs]
        given = {job.image.absolute(): job.image for job in jobs}
        with _connected(ray, self.address):
            gpus = options.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1
            options = replace(options, device="cuda" if gpus else "cpu")
            start = _starter(ray, gpus=gpus, arguments=(bundle.absolute(), output.absolute(), options))
            crew = _Crew(ray, start, deque(absolute))
            for result in crew.work(min(len(jobs), _room(ray, gpus=gpus))):
                files = tuple(output / file.name for file in result.outputs)
                yield replace(result, image=given[result.image], outputs=files)


class _Worker:
    """What runs in a process of its own; Ray makes an actor of it."""

    def __init__(self, bundle: Path, output: Path, options: PredictOptions) -> None:
        self.arguments = bundle, output, options
        self.reader = ThreadPoolExecutor(1)
        self.predictor: Predictor | None = None

    def load(self) -> InputError | None:
        """Load the bundle; what is wrong with it, if anything."""
        try:
            self.predictor = Predictor.start(*self.arguments)
        except InputError as error:
            return error
        return None

    def predict(self, job: Job) -> Prediction:
        """Do one scan."""
        if self.predictor is None:
            raise RuntimeError("load() has not been called")
        result = self.predictor.attempt(job, Loading(job.image, self.arguments[2], self.reader))
        return result if result.error is None else replace(result, error=_travelling(result.error))


def _travelling(error: BaseException) -> BaseException:
    """An error that another process can unpack."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, a line after they were made
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@dataclass
class _Crew:
    """The workers and what each is at.

    Args:
        ray: the module.
        start: makes a worker.
        waiting: jobs that nobody does yet.
        idle: workers that had nothing left to do.
        busy: what each running call is for: its worker, and its job or None while it loads the bundle.
        tries: how often each job was begun.
        lost_loading: how many workers were lost while they loaded the bundle.
    """

    ray: Any
    start: Any
    waiting: deque[Job]
    idle: list[Any] = field(default_factory=list)
    busy: dict[Any, tuple[Any, Job | None]] = field(default_factory=dict)
    tries: Counter[Path] = field(default_factory=Counter)
    lost_loading: int = 0

    def work(self, workers: int) -> Iterator[Prediction]:
        """Do all jobs with so many workers at most, in the order in which they end."""
        for _ in range(workers):
            self._hire()
        while self.waiting or any(job for _, job in self.busy.values()):
            (call,), _ = self.ray.wait(list(self.busy), num_returns=1)
            worker, job = self.busy.pop(call)
            try:
                result = self.ray.get(call)
            except self.ray.exceptions.RayActorError:
                yield from self._lose(job)
                continue
            if isinstance(result, InputError):  # of loading: it would be the same for each worker
                raise result
            self.idle.append(worker)
            self._hand_out()
            if job:
                yield result

    def _hire(self) -> None:
        worker = self.start()
        self.busy[worker.load.remote()] = worker, None

    def _hand_out(self) -> None:
        while self.idle and self.waiting:
            worker, job = self.idle.pop(), self.waiting.popleft()
            self.tries[job.image] += 1
            self.busy[worker.predict.remote(job)] = worker, job

    def _lose(self, job: Job | None) -> Iterator[Prediction]:
        """A worker is gone: its job waits again, and another worker is asked for, which comes where there is room."""
        if job is None:
            self.lost_loading += 1
            if self.lost_loading == _TRIES:
                raise InputError(f"{_TRIES} workers were lost while they loaded the bundle; is there memory for it?")
        elif self.tries[job.image] == _TRIES:
            text = f"{job.image}: {_TRIES} workers were lost over it; is there memory enough for it?"
            yield Prediction(job.image, error=InputError(text), patient=job.patient)
        else:
            self.waiting.appendleft(job)
        self._hand_out()
        self._hire()


def _ray() -> Any:
    # Ray asks its makers for its version and sends them how it is used, unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--ray needs Ray; install it with `pip install 'lmk3d[ray]'`") from None
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """The cluster, as long as the block runs; one that was connected to before stays connected."""
    if ray.is_initialized():
        yield
        return
    _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"--ray {address}: {error}; start one with `ray start --head`, or use --ray local") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself waits for minutes where nobody answers."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--ray {address}: nobody answers there ({error}); check the address") from None


def _room(ray: Any, *, gpus: bool) -> int:
    """How many workers the cluster has room for."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus:
        return int(sum(machine.get("GPU", 0) for machine in machines))
    cpus = _cpus(ray)
    return max(1, int(sum(machine.get("CPU", 0) // cpus for machine in machines)))


def _cpus(ray: Any) -> int:
    """CPUs of one worker: few enough for the smallest machine."""
    counts = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return max(1, min([_CPUS, *(count for count in counts if count)]))


def _starter(ray: Any, *, gpus: bool, arguments: tuple[Path, Path, PredictOptions]) -> Any:
    actor = ray.remote(_Worker).options(num_cpus=1 if gpus else _cpus(ray), num_gpus=1 if gpus else 0)
    return lambda: actor.remote(*arguments)
