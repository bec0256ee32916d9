"""Images in, files of landmarks out: what ``lmk3d predict`` does, for one scan or a cohort of them."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmk3d.errors import InputError
from lmk3d.io import find_images
from lmk3d.io.atomic import clear_parts
from lmk3d.io.patients import Patient, patient_of
from lmk3d.landmarks import VERDICTS
from lmk3d.manifest import KEEP_UNTRUSTED, MANIFEST, bundle_digests, digest_input, read_manifest, verdict_in
from lmk3d.predictor import Job, Prediction, PredictOptions, asked, predict_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Engine = Callable[[list[Job], Path, Path, PredictOptions], Iterator[Prediction]]

__all__ = ["PredictOptions", "Prediction", "output_names", "predict_files"]

# Only these are taken off a name: what follows the last point in the name of a DICOM file is often part of it.
_ENDINGS = re.compile(
    r"\.((nii|hdr|img)(\.gz)?|nrrd|nhdr|mha|mhd|dcm|dicom|ima|zip|png|jpe?g|tiff?|bmp)$", re.IGNORECASE
)


def predict_files(
    inputs: Sequence[Path],
    bundle: Path,
    *,
    output: Path = Path(),
    options: PredictOptions | None = None,
    report: Callable[[Prediction], None] | None = None,
    engine: Engine = predict_here,
) -> list[Prediction]:
    """Find the landmarks of every image and write them, beside a manifest that says what they were made from.

    An image that cannot be used is reported and the others go on. One whose outputs an earlier run made from the same
    input, weights and options is skipped; where only some of its outputs are there, the others are added to them.

    Args:
        inputs: images, folders of images, DICOM series (folder or zip).
        bundle: folder of the bundle.
        output: folder to write to; made when it is not there, and removed again when nothing came of it.
        options: see ``PredictOptions``.
        report: called with each result as it comes.
        engine: does the jobs that are left: here one after another, or ``lmk3d.cluster.RayEngine``.
    Returns:
        One result for each image, in their order.
    Raises:
        InputError: if there are no images, the bundle cannot be used, or the folder cannot be written to.
    """
    options = options or PredictOptions()
    images = [path for path in find_images(inputs, series=options.series) if path in inputs or not _is_preview(path)]
    results: dict[Path, Prediction] = {}

    def note(result: Prediction) -> None:
        results[result.image] = replace(result, finished=len(results) + 1, total=len(images))
        if report:
            report(results[result.image])

    with _folder_for(output):
        left, earlier = [], _Earlier(bundle, output, options)
        for job in _jobs(images, options):
            planned = job if options.overwrite else earlier.left_to_do(job)
            if isinstance(planned, Job):
                left.append(planned)
            else:
                note(planned)
        if left:
            for result in engine(left, bundle, output, options):
                note(result)
    return [results[image] for image in images]


def _jobs(images: Sequence[Path], options: PredictOptions) -> Iterator[Job]:
    patients = [Patient() if options.patient_names else patient_of(image) for image in images]
    for image, name, patient in zip(images, output_names(images, patients), patients, strict=True):
        yield Job(image, name, patient)


def output_names(images: Sequence[Path], patients: Sequence[Patient]) -> list[str]:
    """What the outputs of each image are called: its own name without the ending, the patient's hidden.

    Where two would be the same, the names of as many folders go before it as tell them apart. Case alone does not,
    since some file systems ignore it.
    """
    paths = [path.absolute() for path in images]
    depth = [0] * len(paths)
    while True:
        names = [
            patient.hide(_name(path, levels)) for path, levels, patient in zip(paths, depth, patients, strict=True)
        ]
        folded = [name.casefold() for name in names]
        same = [row for row, name in enumerate(folded) if folded.count(name) > 1]
        growing = [row for row in same if depth[row] < len(paths[row].parts) - 2]
        if not growing:
            break
        for row in growing:
            depth[row] += 1
    taken = {name for name in folded if folded.count(name) == 1}
    for row in same:  # one folder holds a.nii.gz and a.nrrd: only the whole name tells them apart, or else the number
        ending = "".join(paths[row].suffixes).lstrip(".") or row
        names[row] = patients[row].hide(f"{_name(paths[row], 0)}_{ending}")
        while names[row].casefold() in taken:
            names[row] += f"_{row}"
        taken.add(names[row].casefold())
    return names


def _name(path: Path, folders: int) -> str:
    stem = path.name if path.is_dir() else _ENDINGS.sub("", path.name)
    return "_".join([*path.parts[len(path.parts) - 1 - folders : -1], stem])


def _is_preview(path: Path) -> bool:
    """Whether a picture was written by an earlier run into the folder that is now read."""
    return path.suffix == ".png" and ".preview" in path.name


@dataclass(frozen=True)
class _Earlier:
    """What earlier runs have left in the folder of the outputs."""

    bundle: Path
    output: Path
    options: PredictOptions

    def left_to_do(self, job: Job) -> Job | Prediction:
        """What is left of a job, or its result where it is done or its outputs are in the way."""
        manifest_name = f"{job.name}{MANIFEST}"
        points = [f"{job.name}.{ending}" for ending in self.options.formats]
        pictures = [f"{job.name}.preview.png", f"{job.name}.preview-1.png"] if self.options.preview else []
        there = self._existing([*points, *pictures, manifest_name])
        if not there:
            return job
        manifest = read_manifest(self.output / manifest_name)
        try:
            reason = self._foreign(manifest, job)
        except InputError as error:  # the scan, or the series asked for, is not there to be compared
            return Prediction(job.image, error=error, patient=job.patient)
        if reason:
            text = f"{job.image}: {self.output / there[0]} exists already, {reason}; give another --output, or"
            return Prediction(job.image, error=InputError(f"{text} --overwrite to replace it"), patient=job.patient)
        made = [str(name) for name in manifest["outputs"]]
        pages = [name for name in made if name.startswith(f"{job.name}.preview")] if self.options.preview else []
        if len(self._existing([*points, *pages])) < len([*points, *pages]) or bool(pictures) > bool(pages):
            return replace(job, earlier=tuple(self._existing(made)))
        outputs = tuple(self.output / name for name in (*points, *pages, manifest_name))
        return Prediction(job.image, outputs=outputs, patient=job.patient, verdict=verdict_in(manifest))

    def _existing(self, names: list[str]) -> list[str]:
        return [name for name in names if (self.output / name).exists()]

    def _foreign(self, manifest: dict[str, Any], job: Job) -> str:
        """Why the outputs are not those that this run would make; "" where they are.

        Raises:
            InputError: if the scan cannot be read, or has no such series.
        """
        if not manifest:
            return "and no manifest says what it was made from"
        image, bundle = manifest["input"], manifest["bundle"]
        digest = digest_input(job.image, series=self.options.series)
        if digest != (image["files"], image["sha256"]):
            other, own = Path(image["path"]).name, job.patient.hide(job.image.name)
            return "made before the scan was changed" if other == own else f"made from {other}"
        if {key: bundle.get(key) for key in self._digests} != self._digests:
            return "made with another bundle or other weights"
        wanted, made = asked(self.options, job.patient), dict(manifest.get("options") or {})
        keeps, kept = wanted.pop(KEEP_UNTRUSTED), made.pop(KEEP_UNTRUSTED, False)
        if wanted != made:
            return "made with another --series, --spacing or --coverage"
        if keeps == kept or verdict_in(manifest) in ("", VERDICTS[0]):
            return ""
        if not manifest["landmarks"]["found" if kept else "withheld"]:  # no point is concerned
            return ""
        return f"made {'with' if kept else 'without'} --keep-untrusted"

    @cached_property
    def _digests(self) -> dict[str, str]:
        return bundle_digests(self.bundle)


@contextmanager
def _folder_for(output: Path) -> Iterator[None]:
    """Make the folder and see that it can be written, before anything is computed; no empty new folder is left."""
    new = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        try:
            output.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=output):
                pass
            clear_parts(output)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{output}: cannot be written to ({reason}); give another folder with --output") from None
        yield
    finally:
        for folder in new:
            if folder.is_dir() and not any(folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)
