"""One scan after another with one loaded bundle: read, hashed, its landmarks found, its files written."""

from __future__ import annotations

import gc
import shutil
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from lmk3d.conformal import COVERAGE
from lmk3d.errors import InputError
from lmk3d.io import read_image, write_points
from lmk3d.io.atomic import part_folder
from lmk3d.io.patients import Patient
from lmk3d.io.points import REPORT
from lmk3d.manifest import KEEP_UNTRUSTED, MANIFEST, describe_bundle, describe_input, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from lmk3d.geometry import Grid, Volume
    from lmk3d.inference import LandmarkDetector
    from lmk3d.landmarks import Landmarks

_Result = TypeVar("_Result")

__all__ = ["Job", "Loading", "PredictOptions", "Prediction", "Predictor", "asked", "predict_here"]

# What one scan of a batch can cause and the others survive; anything else is a bug and stops the run. InputError is a
# ValueError; networks raise others for sizes they cannot take, and torch says RuntimeError when memory is short.
_BAD_SCAN = (ValueError, OSError, MemoryError, RuntimeError)


@dataclass(frozen=True)
class PredictOptions:
    """How ``predict_files`` reads, computes and writes.

    Args:
        formats: endings of the files of points to write: mrk.json, fcsv, csv, json, sr.dcm.
        preview: also write a picture of three planes through each landmark.
        device: where to compute: cpu, cuda, cuda:1; auto for CUDA where it is there.
        series: which series of a DICOM folder with several.
        spacing_mm: pixel spacing of radiographs whose files do not say it.
        coverage: share of new patients, in (0, 1), whose true point lies within a point's radius; see ``Radii``.
        overwrite: replace files that exist; without it scans that are done are skipped, and other files kept.
        patient_names: leave a patient's name and id in file names, manifests and messages where the path holds them.
        keep_untrusted: write points that are not trusted, too, marked and without an expected error; they are missing
            from all outputs without it.
    """

    formats: tuple[str, ...] = ("mrk.json",)
    preview: bool = False
    device: str = "cpu"
    series: str | None = None
    spacing_mm: float | None = None
    coverage: float = COVERAGE
    overwrite: bool = False
    patient_names: bool = False
    keep_untrusted: bool = False


@dataclass(frozen=True)
class Job:
    """One scan that is to be done.

    Args:
        image: the file or folder.
        name: what its outputs are called.
        patient: whose name and id messages and manifest must not show.
        earlier: its files that an unfinished or smaller run with the same input and weights left; they stay.
    """

    image: Path
    name: str
    patient: Patient = field(default_factory=Patient)
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Prediction:
    """What became of one image.

    Args:
        image: the file or folder.
        landmarks: all names of the bundle in world RAS mm, NaN where missing or withheld, since they are not trusted;
            None where nothing was computed.
        grid: of the image; None where it was not read.
        outputs: the files written, points first, the manifest last; those found where the scan was done already.
        seconds: the time of each step.
        notes: what a user should know of the image and its points, one sentence each.
        error: why the image could not be used; None where it could.
        patient: hides the patient's name and id in what is printed.
        verdict: how far the points can be trusted, one of ``lmk3d.landmarks.VERDICTS``; "" where nobody assessed them.
        finished, total: the how manyth result this is of how many.
    """

    image: Path
    landmarks: Landmarks | None = None
    grid: Grid | None = None
    outputs: tuple[Path, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: BaseException | None = None
    patient: Patient = field(default_factory=Patient)
    verdict: str = ""
    finished: int = 1
    total: int = 1

    @property
    def skipped(self) -> bool:
        """Whether an earlier run had done it."""
        return self.landmarks is None and self.error is None


def asked(options: PredictOptions, patient: Patient) -> dict[str, object]:
    """What of the options the landmarks depend on, as the manifest records it."""
    series = None if options.series is None else patient.hide(options.series)
    return {
        "series": series,
        "spacing_mm": options.spacing_mm,
        "coverage": options.coverage,
        KEEP_UNTRUSTED: options.keep_untrusted,
    }


def predict_here(jobs: list[Job], bundle: Path, output: Path, options: PredictOptions) -> Iterator[Prediction]:
    """Do the jobs one after another in this process.

    Yields:
        The result of each, in their order.
    Raises:
        InputError: if the bundle cannot be used.
    """
    with _reader() as reader:
        # Read before torch is imported: side by side they cost a fifth more, as each waits for the other at every step.
        loading = Loading(jobs[0].image, options, reader).ready()
        predictor = Predictor.start(bundle, output, options)
        for number, job in enumerate(jobs):
            if number:
                loading = Loading(job.image, options, reader)
            result = predictor.attempt(job, loading)
            del loading  # it holds the volume, which must be gone before the next one comes
            yield result
            _let_go(result.error)


def _let_go(error: BaseException | None) -> None:
    """Drop the frames of an error and of those it came from: they hold the volume."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


@contextmanager
def _reader() -> Iterator[ThreadPoolExecutor]:
    """One thread; what it has not begun when the block is left in a hurry is dropped."""
    reader = ThreadPoolExecutor(1)
    try:
        yield reader
    finally:
        reader.shutdown(cancel_futures=True)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Torch's import makes a million objects to keep; looking through them for garbage is a fifth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Loading:
    """One image on its way into memory: a thread reads it, and then hashes its file while the networks already run."""

    def __init__(self, image: Path, options: PredictOptions, reader: ThreadPoolExecutor) -> None:
        self.image, self.seconds = image, {"read": 0.0, "hash": 0.0}
        self._read: Future[Volume] = reader.submit(
            self._timed, "read", lambda: read_image(image, series=options.series, spacing_mm=options.spacing_mm)
        )
        # The one thread takes its work in order: the image is read, or known to be bad, once this begins.
        self._hash: Future[dict[str, object]] = reader.submit(
            self._timed, "hash", lambda: describe_input(image, self.volume(), series=options.series)
        )

    def ready(self) -> Loading:
        """Itself, once the image is read or known to be bad."""
        wait([self._read])
        return self

    def volume(self) -> Volume:
        """The image, as soon as it is there."""
        return self._read.result()

    def description(self) -> dict[str, object]:
        """What the manifest says of it."""
        return self._hash.result()

    def _timed(self, step: str, work: Callable[[], _Result]) -> _Result:
        start = time.perf_counter()
        result = work()
        self.seconds[step] = time.perf_counter() - start
        return result


@dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded bundle and what all scans of a run share.

    Args:
        detector: finds the landmarks.
        bundle: what the manifests say of it.
        output: folder to write to.
        options: see ``PredictOptions``.
        load_s: the seconds that loading took.
    """

    detector: LandmarkDetector
    bundle: dict[str, object]
    output: Path
    options: PredictOptions
    load_s: float

    @classmethod
    def start(cls, bundle: Path, output: Path, options: PredictOptions) -> Predictor:
        """Load the bundle.

        Raises:
            InputError: if it cannot be used.
        """
        start = time.perf_counter()
        with _no_collections():
            from lmk3d.inference import LandmarkDetector

        detector = LandmarkDetector.from_bundle(bundle, device=options.device)
        detector.coverage = options.coverage
        described = describe_bundle(bundle, detector.version, detector.notes)
        return cls(detector, described, output, options, time.perf_counter() - start)

    def attempt(self, job: Job, loading: Loading) -> Prediction:
        """Do one scan; one that cannot be used gives a result with an error."""
        try:
            return self._predict(job, loading)
        except _BAD_SCAN as error:
            return Prediction(job.image, error=error, patient=job.patient)

    def _predict(self, job: Job, loading: Loading) -> Prediction:
        if REPORT in self.options.formats:
            from lmk3d.io.structured_report import check_reportable

            check_reportable(job.image)
        volume = loading.volume()
        start = time.perf_counter()
        try:
            found = self.detector.detect(volume)
        except InputError as error:  # which file it was, a detector does not know
            raise InputError(f"{job.image}: {error}") from error
        detected = time.perf_counter()
        landmarks = found.withheld(keep_points=self.options.keep_untrusted)
        manifest = f"{job.name}{MANIFEST}"
        with self._staged() as folder:
            written = [file.name for file in self._write(volume, landmarks, folder, job)]
            steps = {"detect": detected - start, "write": time.perf_counter() - detected}
            image = loading.description()
            steps = {"load bundle": self.load_s, **loading.seconds, **steps}
            seconds = {step: round(taken, 3) for step, taken in steps.items()}
            write_manifest(
                folder / manifest,
                image={**image, "path": job.patient.hide(str(job.image))},
                bundle=self.bundle,
                landmarks=landmarks,
                run={
                    "outputs": list(dict.fromkeys([*written, *job.earlier])),
                    "options": asked(self.options, job.patient),
                    "device": str(self.detector.device),
                    "seconds": seconds,
                },
            )
        files = tuple(self.output / file for file in [*written, manifest])
        notes = (*volume.notes, *landmarks.notes)
        verdict = "" if landmarks.assessment is None else landmarks.assessment.verdict
        return Prediction(
            job.image, landmarks, volume.grid, files, seconds, notes, patient=job.patient, verdict=verdict
        )

    def _write(self, volume: Volume, landmarks: Landmarks, folder: Path, job: Job) -> list[Path]:
        files = [folder / f"{job.name}.{ending}" for ending in self.options.formats]
        for file in files:
            write_points(landmarks, file, image=job.image, series=self.options.series)
        if self.options.preview:
            from lmk3d.plots import save_preview

            files += save_preview(volume, landmarks, folder / f"{job.name}.preview.png", title=job.name)
        return files

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """A folder whose files move to ``output`` when the block ends well, and are gone when it does not.

        The manifest goes first: whatever stops the move, the next run sees by it whose the other files are.
        """
        folder = part_folder(self.output)
        try:
            yield folder
            for file in sorted(folder.iterdir(), key=lambda file: not file.name.endswith(MANIFEST)):
                target = self.output / file.name
                if self.options.overwrite or file.name.endswith(MANIFEST) or not target.exists():
                    file.replace(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
