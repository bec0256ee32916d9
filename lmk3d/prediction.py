"""Images in, files of landmarks out: what ``lmk3d predict`` does, for one scan or a folder of them."""

from __future__ import annotations

import gc
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lmk3d.errors import InputError
from lmk3d.io import find_images, read_image, write_points
from lmk3d.manifest import describe_bundle, describe_input, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from lmk3d.geometry import Grid, Volume
    from lmk3d.inference import LandmarkDetector
    from lmk3d.landmarks import Landmarks

_Result = TypeVar("_Result")

__all__ = ["PredictOptions", "Prediction", "output_names", "predict_files"]

# What one scan of a batch can cause and the others survive; anything else is a bug and stops the run. InputError is a
# ValueError; networks raise others for sizes they cannot take, and torch says RuntimeError when memory is short.
_BAD_SCAN = (ValueError, OSError, MemoryError, RuntimeError)
# Only these are taken off a name: what follows the last point in the name of a DICOM file is often part of it.
_ENDINGS = re.compile(r"\.(nii\.gz|nii|nrrd|nhdr|mha|mhd|dcm|dicom|ima|zip|png|jpe?g|tiff?|bmp)$", re.IGNORECASE)


@dataclass(frozen=True)
class PredictOptions:
    """How ``predict_files`` reads, computes and writes.

    Args:
        formats: endings of the files of points to write: mrk.json, fcsv, csv, json.
        preview: also write a picture of three planes through each landmark.
        device: where to compute: cpu, cuda, cuda:1; auto for CUDA where it is there.
        series: which series of a DICOM folder with several.
        spacing_mm: pixel spacing of radiographs whose files do not say it.
        overwrite: replace files that exist; without it their existence is an error.
    """

    formats: tuple[str, ...] = ("mrk.json",)
    preview: bool = False
    device: str = "cpu"
    series: str | None = None
    spacing_mm: float | None = None
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class Prediction:
    """What became of one image.

    Args:
        image: the file or folder.
        landmarks: all names of the bundle in world RAS mm, NaN where missing; None where the image could not be used.
        grid: of the image; None where it could not be read.
        outputs: the files written, points first, the manifest last.
        seconds: the time of each step.
        error: why there are no landmarks; None where there are.
    """

    image: Path
    landmarks: Landmarks | None = None
    grid: Grid | None = None
    outputs: tuple[Path, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    error: BaseException | None = None


def predict_files(
    inputs: Sequence[Path],
    bundle: Path,
    *,
    output: Path = Path(),
    options: PredictOptions | None = None,
    report: Callable[[Prediction], None] | None = None,
) -> list[Prediction]:
    """Find the landmarks of every image and write them, beside a manifest that says what they were made from.

    All files of one image appear together or not at all. An image that cannot be used is reported and the others go on.

    Args:
        inputs: images, folders of images, DICOM series (folder or zip).
        bundle: folder of the bundle.
        output: folder to write to; made when it is not there, and removed again when nothing came of it.
        options: see ``PredictOptions``.
        report: called with each result as it comes.
    Returns:
        One result for each image, in their order.
    Raises:
        InputError: if there are no images, the bundle cannot be used, or an output exists or cannot be written.
    """
    options = options or PredictOptions()
    images = [path for path in find_images(inputs) if path in inputs or not _is_preview(path)]
    names = output_names(images)
    if not options.overwrite:
        _refuse_existing(output, names, options)
    with _folder_for(output), _reader() as reader:
        # The first image is read while the bundle, and with it torch, is loaded: on a cold start both take seconds.
        loading = _Loading(images[0], options, reader)
        run = _Run.start(bundle, output, options)
        results = []
        for number, (image, name) in enumerate(zip(images, names, strict=True)):
            if number:
                loading = _Loading(image, options, reader)
            try:
                result = run.predict(loading, name)
            except _BAD_SCAN as error:
                result = Prediction(image, error=error)
            del loading  # it holds the volume, which must be gone before the next one comes
            if report:
                report(result)
            if result.error is not None:
                result.error.__traceback__ = None  # its frames hold the volume
            results.append(result)
    return results


def output_names(images: Sequence[Path]) -> list[str]:
    """What the outputs of each image are called: its own name without the ending.

    Where two would be the same, the names of as many folders go before it as tell them apart. Case alone does not,
    since some file systems ignore it.
    """
    paths = [path.absolute() for path in images]
    depth = [0] * len(paths)
    while True:
        names = [_name(path, levels) for path, levels in zip(paths, depth, strict=True)]
        folded = [name.casefold() for name in names]
        same = [row for row, name in enumerate(folded) if folded.count(name) > 1]
        growing = [row for row in same if depth[row] < len(paths[row].parts) - 2]
        if not growing:
            break
        for row in growing:
            depth[row] += 1
    for row in same:  # one folder holds a.nii.gz and a.nrrd: only the whole name tells them apart
        names[row] = f"{_name(paths[row], 0)}_{''.join(paths[row].suffixes).lstrip('.') or row}"
    return names


def _name(path: Path, folders: int) -> str:
    stem = path.name if path.is_dir() else _ENDINGS.sub("", path.name)
    return "_".join([*path.parts[len(path.parts) - 1 - folders : -1], stem])


def _is_preview(path: Path) -> bool:
    """Whether a picture was written by an earlier run into the folder that is now read."""
    return path.suffix == ".png" and ".preview" in path.name


def _refuse_existing(output: Path, names: Sequence[str], options: PredictOptions) -> None:
    there = []
    for name in names:
        files = [output / f"{name}.{ending}" for ending in (*options.formats, "manifest.json")]
        if options.preview:
            files += [output / f"{name}.preview.png", output / f"{name}.preview-1.png"]
        there += [file for file in files if file.exists()]
    if there:
        others = f" (as do {len(there) - 1} more outputs)" if len(there) > 1 else ""
        raise InputError(f"{there[0]}: exists already{others}; give another --output, or --overwrite to replace it")


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A folder whose files move to ``output`` when the block ends well, and are gone when it does not."""
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=output) as folder:
        yield Path(folder)
        for file in sorted(Path(folder).iterdir()):
            file.replace(output / file.name)


@contextmanager
def _folder_for(output: Path) -> Iterator[None]:
    """Make the folder and see that it can be written, before anything is computed; no empty new folder is left."""
    new = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        try:
            output.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=output):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{output}: cannot be written to ({reason}); give another folder with --output") from None
        yield
    finally:
        for folder in new:
            if folder.is_dir() and not any(folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)


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


class _Loading:
    """One image on its way into memory: a thread reads it, and then hashes its file while the networks already run."""

    def __init__(self, image: Path, options: PredictOptions, reader: ThreadPoolExecutor) -> None:
        self.image, self.seconds = image, {"read": 0.0, "hash": 0.0}
        self._read: Future[Volume] = reader.submit(
            self._timed, "read", lambda: read_image(image, series=options.series, spacing_mm=options.spacing_mm)
        )
        # The one thread takes its work in order: the image is read, or known to be bad, once this begins.
        self._hash: Future[dict[str, object]] = reader.submit(
            self._timed, "hash", lambda: describe_input(image, self.volume())
        )

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
class _Run:
    """What all images of one call share."""

    detector: LandmarkDetector
    bundle: dict[str, object]
    output: Path
    options: PredictOptions
    load_s: float

    @classmethod
    def start(cls, bundle: Path, output: Path, options: PredictOptions) -> _Run:
        start = time.perf_counter()
        with _no_collections():
            from lmk3d.inference import LandmarkDetector

        detector = LandmarkDetector.from_bundle(bundle, device=options.device)
        return cls(detector, describe_bundle(bundle, detector.version), output, options, time.perf_counter() - start)

    def predict(self, loading: _Loading, name: str) -> Prediction:
        """Find the landmarks of one image and write its files."""
        volume = loading.volume()
        start = time.perf_counter()
        try:
            landmarks = self.detector.detect(volume)
        except InputError as error:  # which file it was, a detector does not know
            raise InputError(f"{loading.image}: {error}") from error
        detected = time.perf_counter()
        with _staged(self.output) as folder:
            written = [file.name for file in self._write(volume, landmarks, folder, name)]
            steps = {"detect": detected - start, "write": time.perf_counter() - detected}
            image = loading.description()
            steps = {"load bundle": self.load_s, **loading.seconds, **steps}
            seconds = {step: round(taken, 3) for step, taken in steps.items()}
            write_manifest(
                folder / f"{name}.manifest.json",
                image=image,
                bundle=self.bundle,
                landmarks=landmarks,
                outputs=written,
                run={"device": str(self.detector.device), "seconds": seconds},
            )
        outputs = tuple(self.output / file for file in [*written, f"{name}.manifest.json"])
        return Prediction(loading.image, landmarks, volume.grid, outputs, seconds)

    def _write(self, volume: Volume, landmarks: Landmarks, folder: Path, name: str) -> list[Path]:
        files = [folder / f"{name}.{ending}" for ending in self.options.formats]
        for file in files:
            write_points(landmarks, file)
        if self.options.preview:
            from lmk3d.plots import save_preview

            files += save_preview(volume, landmarks, folder / f"{name}.preview.png", title=name)
        return files
