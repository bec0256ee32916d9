"""What a cascade for a data set should look like: every number chosen from the data's fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.codecs import LandmarkTree
from lmk3d.errors import InputError
from lmk3d.geometry import fit_similarity
from lmk3d.io.datasets import case_points
from lmk3d.io.fingerprint import PERCENTILES
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lmk3d.io import Dataset, Fingerprint

    FloatArray = NDArray[np.float64]

__all__ = ["LevelPlan", "Plan", "plan_for"]


# Voxels that the longest side of a volume measures in the first stage, so that its grid, a multiple of 32, holds air
# round it; where the pose has to be searched, fewer.
_LONGEST, _LONGEST_TURNED = 77, 64
# How training varies size and field of view where the world gives the axes.
_VARIED: dict[str, Any] = {"windowed": True, "zoom": 0.35, "reflect": 0.3, "cut": 0.35, "usual": 0.5}
# Of the landmarks' reach: neighbours no farther than this see each other in one small patch.
_NEAR = 0.5


@dataclass(frozen=True)
class LevelPlan:
    """One refiner: patch spacing and size, width of its three levels, the starts it is trained on, and its moves."""

    spacing_mm: float
    size: int
    offset_mm: float
    channels: tuple[int, int, int] = (16, 32, 64)
    count: int = 24
    passes: int = 1
    share: float | tuple[float, ...] = 1.0
    steps: bool = False


@dataclass(frozen=True)
class Plan:
    """Every number of a cascade that depends on the data; all of it ends up in the bundle's JSON under its own name.

    Args:
        name, description: of the bundle.
        names, pairs, one_sided: the landmarks, as in the data set.
        low, high, percentiles: the intensity window.
        spacing_mm: of the first stage's input; its maps are ``stride`` times coarser.
        sides: voxels of the input grid in training.
        levels: the refiners, coarse to fine.
        any_pose: patients lie at any angle: search the pose, use the shape model.
        max_angle: radians by which training turns the first stage's grid.
        shift_mm, crop: how the grid's middle is drawn in training; see ``RandPosed``.
        missing: what a landmark without a point means; see ``CascadeObjective``.
        min_presence: a landmark less likely to be in the image is reported missing.
        tolerance_mm: of the shape fit.
        waves_mm: amplitude and wavelength of the elastic deformation.
        dataset: path of the data set's JSON; "" for phantoms.
        phantoms: section to the arguments of each phantom, used when there is no data set.
        epochs, batch_size, learning_rate, repeats: of the training; each case is drawn ``repeats`` times an epoch.
        validate_every: epochs.
        unit: of the points; "px" for films without a spacing, whose every number in mm is one in px.
        side_px: see ``LandmarkDetector``.
        miss_mm: what the validation counts for a landmark that was not found.
        method: "cascade", or one of ``lmk3d.configure.methods``, which has no refiners.
        structures: closed contours by name, as the landmarks round them; denseseg needs them.
        instances: how many points of one name an image may show.
        patch_sigma_vox: see ``CascadeObjective``.
        varied: of films: training changes size, brightness and contrast more, blurs, and hides parts of them.
        tree: choose among the peaks of all landmarks at once; see ``LandmarkTree``.
        places: weigh where in the image they usually lie; see ``UsualPlaces``.
        windowed: see ``LandmarkDetector``.
        zoom: of the first stage's grid in training; see ``RandPosed``.
        reflect, cut, usual, usual_shift_mm: how training varies the field of view; see ``RandPosed`` and
            ``RandFieldOfViewd``.
        scanners: how training varies the appearance: "ct" as scanners of Hounsfield units do, "any" as other sequences
            and modalities do, "" little.
    """

    name: str
    description: str
    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    low: float
    high: float
    spacing_mm: float
    sides: tuple[int, int, int]
    levels: tuple[LevelPlan, ...]
    percentiles: bool = False
    one_sided: tuple[str, ...] = ()
    stride: int = 2
    channels: tuple[int, ...] = (16, 32, 64, 128)
    any_pose: bool = False
    max_angle: float = 0.2
    shift_mm: float | tuple[float, ...] = 5.0
    crop: bool = False
    missing: str = "unknown"
    min_presence: float = 0.5
    tolerance_mm: float = 1.0
    waves_mm: tuple[float, float] | None = None
    dataset: str = ""
    phantoms: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    epochs: int = 100
    batch_size: int = 2
    learning_rate: float = 2e-3
    repeats: int = 1
    validate_every: int = 5
    unit: str = "mm"
    side_px: float | None = None
    miss_mm: float = 20.0
    method: str = "cascade"
    structures: Mapping[str, Sequence[str]] = field(default_factory=dict)
    instances: int = 1
    patch_sigma_vox: float | None = None
    varied: bool = False
    tree: bool = False
    places: bool = False
    windowed: bool = False
    zoom: float = 0.1
    reflect: float = 0.0
    cut: float = 0.0
    usual: float = 0.0
    usual_shift_mm: float | tuple[float, ...] = 0.0
    scanners: str = ""

    @property
    def flat(self) -> bool:
        """Whether it is for films."""
        return self.sides[2] == 1

    @property
    def patch_sigmas(self) -> float | list[float | None] | None:
        """What the objective trains the refiners' heatmaps with; steps are always trained so, since they go far."""
        if not any(level.steps for level in self.levels):
            return self.patch_sigma_vox
        return [1.0 if level.steps else self.patch_sigma_vox for level in self.levels]

    @property
    def dims(self) -> int:
        """Of the networks: 2 for films."""
        return 2 if self.flat else 3


def plan_for(dataset: Dataset, path: Path, fingerprint: Fingerprint) -> Plan:
    """Choose every number from the data's fingerprint.

    The first stage sees the longest side as 77 voxels, or 64 where the pose has to be searched, but none finer than
    the images'; the last refiner sees patches a little coarser than the voxels; a level between them is put in where
    the first stage's error would not fit into the last one's patch. The factors were chosen on the benchmark sets;
    docs/cascade.rst has the comparison.

    Raises:
        InputError: if the data set holds films beside volumes, or too few cases to train on and to validate with.
    """
    sizes, spacings = np.asarray(fingerprint.sizes, float), np.asarray(fingerprint.spacings_mm, float)
    flat = sizes[:, 2] == 1
    if flat.any() and not flat.all():
        raise InputError(
            f"{path}: {flat.sum()} of {len(flat)} images are films (one slice); part them from the volumes"
        )
    cases = _marked(dataset, path, "training", 2)
    _marked(dataset, path, "validation", 1)
    shapes = [case_points(case).ordered(dataset.landmark_names).points_mm for case in cases]
    if flat.all():
        return _film_plan(dataset, path, fingerprint, shapes)
    extents, any_pose = np.median([image["size_mm"] for image in fingerprint.images], axis=0), _turned(shapes)
    native = float(np.median(spacings.min(axis=1)))
    # Where the world gives the axes, a fifth level sees the whole patient: far below stands which vertebra is the last.
    channels = (16, 32, 64, 128) if any_pose else (16, 32, 64, 128, 128)
    spacing = _rounded(max(extents.max() / (_LONGEST_TURNED if any_pose else _LONGEST), native))
    sides = _whole_blocks(extents.max().repeat(3) if any_pose else extents, spacing, channels)
    window = fingerprint.window()
    reach = max(_reach(shapes), 0.2 * extents.max())  # one landmark reaches nowhere, but the anatomy round it bends
    return Plan(
        **_about(dataset, path),
        low=window[0],
        high=window[1],
        percentiles=window[2],
        spacing_mm=spacing,
        sides=(sides[0], sides[1], sides[2]),
        levels=_levels(shapes, native, spacing, any_pose=any_pose),
        channels=channels,
        any_pose=any_pose,
        max_angle=1.13 if any_pose else 0.2,  # 65 degrees, what 24 looks leave at most
        shift_mm=(float(round(0.08 * extents.max(), 2)),) * 3 if any_pose else tuple((0.2 * extents).round(2).tolist()),
        tolerance_mm=2 * spacing,
        waves_mm=(0.013 * reach, 0.45 * reach),
        epochs=max(10, 4000 // len(shapes)),
        validate_every=25 if any_pose else 10,
        tree=not any_pose,
        places=not any_pose,
        **({} if any_pose else {**_VARIED, "usual_shift_mm": _usual_shift(fingerprint, extents)}),
        scanners="" if any_pose else "any" if window[2] else "ct",
    )


def _levels(shapes: list[FloatArray], native: float, spacing: float, *, any_pose: bool) -> tuple[LevelPlan, ...]:
    """The refiners, coarse to fine."""
    fine = LevelPlan(float(np.round(1.42 * native, 3)), 24, 2 * native, passes=3 if any_pose else 2)
    if any_pose:
        return (fine,)
    between = (LevelPlan(spacing, 24, 2 * spacing),) if spacing > 1.3 * fine.spacing_mm else ()
    steps = _steps(shapes)
    return (*((steps,) if steps else ()), *between, fine)


def _steps(shapes: list[FloatArray]) -> LevelPlan | None:
    """A level that finds landmarks from their neighbours, where all of these are near: in a column of alike ones."""
    tree = LandmarkTree.from_shapes(shapes)
    spread = np.sqrt(np.linalg.eigvalsh(tree.covariances)[:, -1])
    longest = float((np.linalg.norm(tree.steps_mm, axis=1) + 3 * spread)[tree.parents >= 0].max(initial=0.0))
    if not 0 < longest < _NEAR * _reach(shapes):
        return None
    return LevelPlan(_rounded(longest / 12), 24, _rounded(longest / 12), channels=(24, 48, 64), count=8, steps=True)


def _usual_shift(fingerprint: Fingerprint, extents_mm: FloatArray) -> tuple[float, ...]:
    """A third of how much the anatomy's place differs between images, along R, A, S.

    Where all scans are planned alike, their frame tells neighbours that look alike apart, such as vertebrae; where they
    are not, it must tell nothing.
    """
    offsets = [image["offset_mm"] for image in fingerprint.images if image["section"] == "training"]
    spread = np.std([offset for offset in offsets if offset is not None], axis=0)
    return tuple(np.clip(spread / 3, 0.01 * extents_mm, 0.08 * extents_mm).round(2).tolist())


def _about(dataset: Dataset, path: Path) -> dict[str, Any]:
    """What a plan says of its data, whatever they are."""
    return {
        "name": path.stem if path.stem != "dataset" else dataset.name,
        "description": dataset.description,
        "names": tuple(dataset.landmark_names),
        "pairs": tuple(dataset.pairs),
        "one_sided": tuple(dataset.one_sided),
        "dataset": str(path.resolve()),
    }


def _film_plan(dataset: Dataset, path: Path, fingerprint: Fingerprint, shapes: list[FloatArray]) -> Plan:
    """The plan for films, all of it from their longest side: pixels are much finer than what is to be seen in them.

    A plane holds so much less than a volume that both stages look closer and wider, through wider networks. The stored
    numbers of a film mean nothing by themselves, so that the window is one of percentiles.
    """
    sides = (np.asarray(fingerprint.sizes, float) * np.asarray(fingerprint.spacings_mm, float))[:, :2]
    longest, channels = float(np.median(sides.max(axis=1))), (32, 64, 96, 128, 128)
    pixel = float(np.median(np.asarray(fingerprint.spacings_mm, float)[:, :2].min(axis=1)))
    side_px = _common_side(dataset, fingerprint, shapes, longest)
    spacing = _rounded(max(longest / 300, pixel))
    close = _rounded(max(longest / 500, pixel))
    fine = LevelPlan(close, 64, round(4.5 * spacing, 3), channels=(16, 32, 96), count=16, passes=2, share=0.5)
    extents = np.median(sides if side_px is None else longest * sides / sides.max(axis=1, keepdims=True), axis=0)
    blocks = _whole_blocks(extents, spacing, channels)
    reach = max(_reach(shapes), 0.2 * longest)
    return Plan(
        **_about(dataset, path),
        low=PERCENTILES[0],
        high=PERCENTILES[-1],
        percentiles=True,
        spacing_mm=spacing,
        sides=(blocks[0], blocks[1], 1),
        levels=(fine,),
        channels=channels,
        max_angle=0.25,
        shift_mm=round(0.08 * longest, 3),
        tolerance_mm=2 * spacing,
        waves_mm=(0.0232 * reach, 0.557 * reach),
        epochs=max(10, 6000 // len(shapes)),
        validate_every=10,
        unit=fingerprint.unit,
        side_px=side_px,
        miss_mm=round(0.1 * longest, 3),
        patch_sigma_vox=1.0,
        varied=True,
        zoom=0.15,
        tree=True,
    )


def _common_side(dataset: Dataset, fingerprint: Fingerprint, shapes: list[FloatArray], longest: float) -> float | None:
    """What films without a spacing are scaled to, if that makes their anatomy differ less in size; else None."""
    if fingerprint.unit != "px":
        return None
    names = [case.name for case in dataset.sections["training"] if case.points is not None]
    films = {image["name"]: max(image["shape"]) for image in fingerprint.images if image["section"] == "training"}
    reach = np.array(
        [[_reach([shape]), films[name]] for name, shape in zip(names, shapes, strict=True) if name in films]
    )
    reach = np.log(reach[reach[:, 0] > 0])
    return longest if len(reach) > 1 and (reach[:, 0] - reach[:, 1]).std() < reach[:, 0].std() - 0.01 else None


def _rounded(spacing: float) -> float:
    """Up to a thousandth: a configuration is read by people."""
    return float(np.ceil(1e3 * spacing) / 1e3)


def _whole_blocks(extents_mm: FloatArray, spacing_mm: float, channels: Sequence[int]) -> list[int]:
    """Voxels that cover these sides, in multiples of what a U-Net of so many levels and a stride of 2 can halve."""
    block = 2 ** len(channels)
    return [int(np.ceil(extent / spacing_mm / block)) * block for extent in extents_mm]


def _marked(dataset: Dataset, path: Path, section: str, least: int) -> list[Any]:
    """The cases of a section that have points, ``least`` or more."""
    cases = [case for case in dataset.sections.get(section) or () if case.points is not None]
    if len(cases) < least:
        raise InputError(
            f"{path}: {section} needs at least {counted(least, 'case')} with points, got {len(cases)}; add some"
        )
    return cases


def _reach(shapes: list[Any]) -> float:
    """The longest side of the landmarks' box, the median over the shapes that have a point."""
    there = [shape[np.isfinite(shape).all(1)] for shape in shapes]
    return float(np.median([np.ptp(points, axis=0).max() for points in there if len(points)] or [0.0]))


def _turned(shapes: list[Any]) -> bool:
    """Whether patients lie at any angle: half of the rotations between shapes and the first one exceed 30 degrees."""
    angles = []
    for shape in shapes[1:]:
        both = np.isfinite(shape).all(1) & np.isfinite(shapes[0]).all(1)
        points = shapes[0][both] - shapes[0][both].mean(0) if both.any() else shapes[0][both]
        # Points on a line or in fewer than four places say nothing certain about a rotation.
        if both.sum() < 4 or np.linalg.svd(points, compute_uv=False)[1] < 0.1 * np.linalg.norm(points):
            continue
        rotation = fit_similarity(shapes[0], shape, scale=False)[:3, :3]
        angles.append(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    return bool(angles) and float(np.median(angles)) > np.pi / 6
