"""LandmarkDetector: from a volume to landmarks, through the heatmap stage, the shape fit and the refiners."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmk3d.calibration import read_calibration
from lmk3d.codecs import DenseCodec, ShapeModel
from lmk3d.components import about_bundle, build, default_bundle, read_config
from lmk3d.conformal import COVERAGE
from lmk3d.errors import InputError
from lmk3d.evidence import Evidence, ImageEvidence, Watch
from lmk3d.geometry import Grid, Volume, cube_rotations, fit_similarity
from lmk3d.io.volumes import as_volume
from lmk3d.landmarks import Landmarks
from lmk3d.level import Level
from lmk3d.networks.blocks import lay_out_for_cpu
from lmk3d.overlap import compare_masks
from lmk3d.pose_search import PoseSearch, View
from lmk3d.sliding import maps_by_windows, peaks_by_windows
from lmk3d.transforms.sampling import Scan, block_factors, block_means, cut_patches, patch_grid, resample, stored_tensor
from lmk3d.weights import find_device, load_weights, modest_networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from lmk3d.calibration import Calibration
    from lmk3d.codecs import HeatmapCodec
    from lmk3d.networks import Cascade
    from lmk3d.transforms.intensity import EqualizedWindow, Window

    FloatArray = NDArray[np.float64]
    IndexArray = NDArray[np.intp]

__all__ = ["LandmarkDetector", "Level", "default_bundle"]

_UNCALIBRATED = (
    "no validation that found most landmarks has calibrated it: no errors are expected, and its confidences mean little"
)
_AS_SURE = 0.5  # as the surest landmark: one that the first stage is less sure of is found from its neighbours
_MUCH_LARGER = 1.25  # than the training's grid: beyond this the first stage sees a volume through windows
_MOST_VOXELS = 2**27  # of the first stage's input: 512^3, far more than a body at 2 mm; more says the spacing is wrong


@dataclass(frozen=True, eq=False)
class _Guess:
    """Where the landmarks are thought to be after a stage; ``numbers`` (R,) says which one each row is.

    ``weights`` (R,) are those of the peaks that the first stage was read at.
    """

    numbers: IndexArray
    points_mm: FloatArray
    presence: FloatArray
    scale_mm: FloatArray
    pose: FloatArray
    weights: FloatArray | None = None


class LandmarkDetector:
    """Finds the landmarks of one kind of image.

    Args:
        network: both stages and the learnt shapes.
        names: of the landmarks, in the network's order.
        window: how stored numbers become 0 to 1.
        codec: reads the first stage's maps. With several ``instances`` a name gets a row for each of its peaks that is
            at least ``min_presence`` high.
        spacing_mm: of the first stage's input.
        levels: one for each refiner of the network, coarse to fine.
        pose: "any" is for patients lying at any angle: it looks from 24 sides, lays the shape model over the peaks,
            turns and scales the patches as it lies, and lets it correct the points; "world" keeps the world's axes.
        sides: voxels of the first stage's grid in training, multiples of the network's divisor; a smaller image is
            padded to them, since the statistics of instance norm would shift with the share of empty space.
        min_presence: a landmark less likely to be in the image is reported missing.
        tolerance_mm: of the shape fit; see ``ShapeModel.fit``.
        sliding: voxels of the windows through which the first stage looks at its input one after another, multiples of
            the network's divisor. With a ``spacing_mm`` near the volume's own it then works at full resolution, and
            nothing of the volume's size is made. None looks at the whole input at once.
        windowed: look so, through windows of ``sides``, at a volume that is more than a quarter larger than they are.
        side_px: films without a spacing are looked at as if their longest side measured this much; None takes their
            pixels as they are.
        unit: of all these numbers: "mm", or "px" where it was trained on films without a spacing; None takes each image
            in its own. With "px" a film in mm is looked at in pixels; its points come in mm all the same.
        version: of the bundle, for manifests.
        device: where the networks run.
    Raises:
        ValueError: if names, levels and network do not fit together.
    Source:
        Tan et al. 2020; the shape fit, the several levels and the presence are ours.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the bundle
        self,
        network: Cascade,
        *,
        names: Sequence[str],
        window: Window | EqualizedWindow,
        codec: HeatmapCodec | DenseCodec,
        spacing_mm: float,
        levels: Sequence[Level],
        pose: str = "world",
        sides: Sequence[int] = (1, 1, 1),
        min_presence: float = 0.5,
        tolerance_mm: float = 1.0,
        sliding: Sequence[int] | None = None,
        windowed: bool = False,
        side_px: float | None = None,
        unit: str | None = None,
        version: str = "",
        device: str = "cpu",
    ) -> None:
        if len(names) != len(network.mean_shape):
            raise ValueError(f"the network finds {len(network.mean_shape)} landmarks, but {len(names)} names came")
        if len(levels) != len(network.refiners):
            raise ValueError(f"the network has {len(network.refiners)} refiners, but {len(levels)} levels came")
        if wrong := [size for level in levels if (size := np.size(level.share)) not in (1, len(names))]:
            raise ValueError(f"a level's share must be one number or {len(names)}, got {wrong[0]}")
        if pose not in ("world", "any"):
            raise ValueError(f"pose must be 'world' or 'any', got {pose!r}")
        if sliding is not None and (len(sliding) != 3 or min(sliding) < 1):
            raise ValueError(f"sliding must be three sides of at least 1 voxel, got {list(sliding)}")
        if any(level.steps for level in levels) and not (network.has_tree and network.has_steps):
            raise ValueError("a level of steps needs a network with a tree and steps")
        if not (len(sides) == 3 and min(sides) >= 1 and np.prod(sides, dtype=float) <= _MOST_VOXELS and spacing_mm > 0):
            raise ValueError(f"sides must be three of at least 1 voxel, spacing_mm above 0, got {list(sides)}")
        if unit not in (None, "mm", "px"):
            raise ValueError(f"unit must be 'mm', 'px' or None, got {unit!r}")
        divisor: Any = network.heatmap.divisor
        if any(side > 1 and side % divisor for side in sides):
            raise ValueError(f"each of sides must be a multiple of {divisor}, got {list(sides)}")
        self.network, self.names, self.window, self.codec = network, tuple(names), window, codec
        self.spacing_mm, self.levels, self.pose, self.sides = spacing_mm, tuple(levels), pose, np.asarray(sides)
        self.min_presence, self.tolerance_mm, self.version = min_presence, tolerance_mm, version
        self.sliding, self.windowed = sliding, windowed
        self.side_px, self.unit, self.device = side_px, unit, torch.device(device)
        self.notes: tuple[str, ...] = ()
        self.calibration: Calibration | None = None
        self.coverage = COVERAGE  # share of new patients that the calibration's radii are to hold for
        self._watch = Watch(network.heatmap)

    @classmethod
    def from_bundle(cls, folder: Path | str, *, device: str = "cpu") -> LandmarkDetector:
        """Load a trained bundle: its inference.json and models/model.pt.

        Args:
            folder: the bundle; see ``default_bundle`` for the shipped ones.
            device: "cpu", "cuda", "cuda:1"; "auto" for CUDA where it is there.
        Raises:
            InputError: if a file is missing or broken, the weights do not fit, or the configuration has a slip.
        """
        path, config = read_config(folder := Path(folder), "inference.json")
        with modest_networks():
            detector = build(config, "detector", path)
        if not isinstance(detector, cls):
            raise InputError(f"{path}: detector: is none; give it _target_: {cls.__module__}.{cls.__name__}")
        detector.device = find_device(device)
        load_weights(detector.network, weights := folder / "models" / "model.pt")
        detector.network.to(detector.device).eval()
        if detector.device.type == "cpu":
            lay_out_for_cpu(detector.network)
        detector.version, notes = about_bundle(folder)
        detector.calibration, found = read_calibration(weights, detector.names)
        detector.notes = (*notes, *[_UNCALIBRATED] * bool(detector.network.error_ratio.isnan()), *found)
        return detector

    def __call__(
        self, image: Any, *, affine: ArrayLike | None = None, series: str | None = None, spacing_mm: float | None = None
    ) -> Landmarks:
        """``detect`` for a file, or an image of any library that ``lmk3d.io.as_volume`` knows, with its arguments.

        The notes begin with what to know of the image. ``Landmarks.withheld`` leaves out what is not trusted.

        Raises:
            InputError, TypeError: as ``as_volume`` and ``detect``; a file is named.
        """
        volume = as_volume(image, affine=affine, series=series, spacing_mm=spacing_mm)
        try:
            found = self.detect(volume)
        except InputError as error:  # which file it was, detect does not know
            raise InputError(f"{image}: {error}" if isinstance(image, str | Path) else str(error)) from error
        return replace(found, notes=(*volume.notes, *found.notes))

    def detect(self, volume: Volume) -> Landmarks:
        """Find the landmarks.

        Args:
            volume: one image.
        Returns:
            One row for each of ``names``: world RAS mm, the presence score as confidence, the expected error in mm or,
            calibrated, the radius of ``coverage``; rows of landmarks that are not in the image are NaN. With several
            instances one row for each, best first. Its notes are the bundle's warnings, and what the radii promise.
        Raises:
            InputError: if the image is constant, has NaN or infinite voxels, is a film where volumes are expected or
                the other way round, has no spacing where mm are needed, or is so large that its spacing must be wrong.
        """
        if not isinstance(volume, Volume):
            raise TypeError(f"detect takes a Volume, got a {type(volume).__name__}; call the detector itself with it")
        found = list(self.detect_stages(volume).values())[-1]
        radii = None if self.calibration is None else self.calibration.radii
        given = found.error_mm is not None and np.isfinite(found.error_mm).any()
        promise = (radii.described(self.coverage),) if radii is not None and given else ()
        return replace(found, notes=(*self.notes, *promise))

    def detect_stages(self, volume: Volume) -> dict[str, Landmarks]:
        """What each stage says, in order: "heatmap", "shape" (with pose "any"), "refined 1", ...; see ``detect``."""
        stages, evidence = self.examine(volume)
        last = list(stages)[-1]
        if self.calibration is not None:
            stages[last] = self.calibration.assessed(stages[last], evidence, self.coverage)
        return stages

    @torch.inference_mode()
    def examine(self, volume: Volume) -> tuple[dict[str, Landmarks], Evidence]:
        """``detect_stages`` without an assessment, and what one is made of."""
        self.network.eval()
        factor, unit = self._factor(volume), volume.unit
        volume = replace(volume, grid=volume.grid.scaled(factor))
        self._check_size(volume.grid)
        scan = self._prepared(volume)
        shape = self._shape()
        with self._watch:
            view = self._view(scan, shape)
        stages = {"heatmap": self._first_guess(view, scan.grid)}
        guess = stages["heatmap"]
        if shape is not None and view.pose is not None:
            guess = stages["shape"] = self._fitted(view, view.pose, shape)
        for number, level in enumerate(self.levels):
            for _ in range(level.passes):
                move = self._stepped if level.steps else self._refined
                guess = move(guess, scan, number, level, shape)
            stages[f"refined {number + 1}"] = guess
        reported = {name: self._reported(guess, scan.grid, factor, unit) for name, guess in stages.items()}
        upright, there = scan.grid.upright, (guess.presence >= self.min_presence) & scan.grid.contains(guess.points_mm)
        seen = {name: own.points_mm @ upright for name, own in stages.items() if len(own.numbers) == len(guess.numbers)}
        image = ImageEvidence.of(scan, self.window, self._watch.features_of(view.points_mm))
        apart = None if self.pose != "any" or view.pose is None else (1 - view.close, view.runner_up)
        weights = None if isinstance(self.codec, DenseCodec) or self.codec.heights else stages["heatmap"].weights
        elsewhere = None if weights is None else np.clip(1 - weights, 1e-3, 1)
        outvoted = None if weights is None else 2 * weights < view.weights.max(1)[stages["heatmap"].numbers]
        said = (apart, elsewhere, outvoted)
        return reported, Evidence(image, guess.numbers, there, seen, guess.scale_mm, factor, unit, *said)

    @torch.inference_mode()
    def detect_masks(self, volume: Volume) -> dict[str, NDArray[np.bool_]]:
        """Which voxels of the image each structure of a dense codec covers, (I, J, K) by name; {} for other codecs."""
        if not isinstance(self.codec, DenseCodec):
            return {}
        self.network.eval()
        grid = volume.grid.scaled(self._factor(volume))
        scan = self._prepared(replace(volume, grid=grid))
        logits, seen = self._dense_maps(scan, self._laid_grid(scan))
        found = {}
        for name, logit in zip(self.codec.structures, logits, strict=False):
            inside = resample(torch.sigmoid(logit), seen, grid, fill=0.0)
            found[name] = (inside > self.codec.threshold).numpy()
        return found

    def compare_masks(self, volume: Volume, truth: Landmarks) -> dict[str, dict[str, float]]:
        """Each structure's Dice and average surface distance from the contour of the truth, in the truth's unit."""
        if not isinstance(self.codec, DenseCodec):
            return {}
        points_vox = volume.grid.to_vox(truth.ordered(self.names).points_mm)
        drawn = self.codec.outlined(points_vox, volume.grid.shape)
        return compare_masks(drawn, self.detect_masks(volume), volume.grid.spacing_mm)

    def _shape(self) -> ShapeModel | None:
        covariance = self.network.shape_covariance.cpu().numpy()
        return ShapeModel(self.network.mean_shape.cpu().numpy(), covariance) if covariance.any() else None

    def _factor(self, volume: Volume) -> float:
        """What brings an image to the size of those of the training."""
        if self.unit == "mm" and volume.unit == "px":
            raise InputError("the image says no spacing, but this bundle was trained in mm; say it (--spacing)")
        if self.unit == "px" and volume.unit == "mm":
            pixel = 1 / float(volume.grid.spacing_mm[0])
            return pixel * Volume(volume.data, volume.grid.scaled(pixel), "px").factor_to(self.side_px)
        return volume.factor_to(self.side_px)

    def _check_size(self, grid: Grid) -> None:
        """Refuse what this network was not made for before minutes are spent on it."""
        flat = self.network.flat
        if flat and grid.shape[2] > 1:
            raise InputError(
                f"the image has {grid.shape[2]} slices, but this bundle is for films; choose another bundle"
            )
        if not flat and min(grid.shape) == 1:
            raise InputError("the image is one voxel thick, but this bundle is for volumes; choose another bundle")
        if self.sliding is None and np.prod(self.first_stage_grid(grid).shape, dtype=float) > _MOST_VOXELS:
            sides = " x ".join(f"{side:.0f}" for side in grid.sides_mm)
            raise InputError(
                f"the image measures {sides} mm, far more than {self.spacing_mm:g} mm voxels can be laid over;"
                " is its spacing right?"
            )

    def _prepared(self, volume: Volume) -> Scan:
        data = stored_tensor(volume)
        # Windows are cut from the volume itself: near its own resolution means over blocks would be as large as it is.
        factors = block_factors(volume.grid, self.spacing_mm) if self.sliding is None else (1, 1, 1)
        coarse = block_means(data, factors) if self.sliding is None else data
        low, high = float(coarse.numpy().min()), float(coarse.numpy().max())
        if not np.isfinite([low, high]).all():
            raise InputError("the image holds NaN or infinite voxels; replace them first")
        if low == high:
            raise InputError(f"the image is constant ({low:g} everywhere); is it the right file?")
        return Scan(data, volume.grid, coarse, volume.grid.coarsened(factors), self.window.limits(coarse))

    def first_stage_grid(self, grid: Grid, axes: FloatArray | None = None) -> Grid:
        """The first stage's grid over a volume, padded to whole blocks of the network.

        Args:
            grid: of the volume.
            axes: (3, 3) directions of the grid; along R, A, S when None, where a film keeps its own axes.
        """
        flat = grid.shape[2] == 1
        axes = grid.upright if axes is None else axes
        sides = np.abs(axes.T @ grid.axes) @ grid.sides_mm
        shape = self._whole_blocks(sides / self.spacing_mm)
        return Grid.around(grid.center_mm, [*shape[:2], 1 if flat else shape[2]], self.spacing_mm, axes)

    def _laid_grid(self, scan: Scan) -> Grid:
        """The first stage's grid over an image, laid over it as the template lies in it where there is one."""
        if not self.network.has_template:
            return self.first_stage_grid(scan.grid)
        from lmk3d.transforms.registration import Template, register

        network = self.network
        data, affine, middle = (
            part.cpu() for part in (network.template, network.template_affine, network.template_middle)
        )
        i, j, k = data.shape
        template = Template(data, Grid((i, j, k), affine.numpy()), middle.numpy())
        grid = self.first_stage_grid(template.grid)
        return Grid(grid.shape, register(template, scan.coarse, scan.coarse_grid) @ grid.affine)

    def _whole_blocks(self, sides_vox: FloatArray) -> list[int]:
        """Sides in voxels, at least those of the training, as whole blocks of the network."""
        divisor = self.network.heatmap.divisor
        # Rounding may leave a twentieth of a block out at the rim, which saves a whole block of nothing.
        blocks = np.ceil(np.maximum(sides_vox, self.sides) / divisor - 0.05).astype(int)
        return (blocks.clip(1) * divisor).tolist()

    def _look(self, scan: Scan, grid: Grid) -> View:
        """Run the first stage on one grid."""
        if isinstance(self.codec, DenseCodec):
            logits, grid = self._dense_maps(scan, grid)
            peaks = self.codec.decode(logits, self.network.mean_shape.cpu().numpy())
        elif (roi := self._roi(grid)) == list(grid.shape):
            logits = self.network(self._read(scan, grid)[None, None])[0].float().cpu()
            peaks, grid = self.codec.decode(logits), grid.coarsened_to(logits.shape[1:])
        else:
            peaks = peaks_by_windows(
                self.network, lambda start: self._read(scan, grid.cropped(start, roi)), grid.shape, self.codec, roi=roi
            )
        points = grid.to_mm(peaks.points_vox.numpy())
        heights = None if peaks.heights is None else peaks.heights.double().numpy()
        self._watch.note(points)
        return View(points, peaks.weights.double().numpy(), peaks.presence.double().numpy(), heights)

    def _dense_maps(self, scan: Scan, grid: Grid) -> tuple[Tensor, Grid]:
        """The few maps of a dense codec over a grid, seen at once or window by window, and the maps' own grid."""
        if self.sliding is None:
            logits = self.network(self._read(scan, grid)[None, None])[0].float().cpu()
        else:
            roi = self._roi(grid)
            logits = maps_by_windows(
                self.network, lambda start: self._read(scan, grid.cropped(start, roi)), grid.shape, roi=roi
            )
        return logits, grid.coarsened_to(logits.shape[1:])

    def _read(self, scan: Scan, part: Grid) -> Tensor:
        """The network's input on a grid."""
        image = resample(scan.coarse, scan.coarse_grid, part, fill=scan.limits[0])
        return self.window.scale(image, scan.limits).to(self.device)

    def _roi(self, grid: Grid) -> list[int]:
        """Voxels of the windows that a grid is looked at through; its own shape where it is seen at once."""
        roi = self.sliding or grid.shape
        if self.windowed and (np.array(grid.shape) > _MUCH_LARGER * self.sides).any():
            roi = self.sides.tolist()
        return [min(sides) for sides in zip(roi, grid.shape, strict=True)]

    def _view(self, scan: Scan, shape: ShapeModel | None) -> View:
        """What the first stage sees of an image, along its axes or along those of the shape, where that is searched."""
        if self.pose != "any" or shape is None:
            return self._look(scan, self._laid_grid(scan))

        def upright(pose: FloatArray) -> Grid:
            scale = np.cbrt(np.linalg.det(pose[:3, :3]))
            sides = self._whole_blocks(1.2 * np.ptp(shape.mean_mm, axis=0) / self.spacing_mm)
            return Grid.around(pose[:3, 3], sides, self.spacing_mm * scale, pose[:3, :3] / scale)

        search = PoseSearch(lambda grid: self._look(scan, grid), upright, shape, self.tolerance_mm)
        return search(self.first_stage_grid(scan.grid, axes) for axes in cube_rotations())

    def _first_guess(self, view: View, grid: Grid) -> _Guess:
        """Each landmark at its highest peak, or at the one that fits its neighbours' best where there is a tree."""
        numbers, presence, upright = np.arange(len(self.names)), view.presence, grid.upright
        points, weights = view.points_mm[:, 0], view.weights[:, 0]
        if (tree := self.network.kept_tree()) is not None:
            usual = self.network.kept_places()
            points, weights = tree.chosen(
                view.points_mm @ upright,
                view.weights,
                presence >= self.min_presence,
                noise_mm=self.spacing_mm,
                unlikely=None if usual is None else lambda peaks: usual.unlikely(peaks @ upright.T, grid),
            )
            points = points @ upright.T
        if self.codec.instances > 1 and view.heights is not None:
            seen = (view.heights > 0) & (view.heights >= self.min_presence)
            seen[:, self.codec.instances :] = False
            seen[:, 0] |= ~seen.any(1)  # the row that says a landmark is missing
            numbers, places = np.nonzero(seen)
            points, weights, presence = (of[numbers, places] for of in (view.points_mm, view.weights, view.heights))
        return _Guess(numbers, points, presence, np.full(len(numbers), self.spacing_mm), np.eye(4), weights)

    def _fitted(self, view: View, pose: FloatArray, shape: ShapeModel) -> _Guess:
        """Each landmark starts from the peak that agrees with the shape laid over all of them, pulled towards it."""
        points = shape.agreeing(pose, view.points_mm, within_mm=2 * self.tolerance_mm)
        scale = np.full(len(points), self.tolerance_mm)
        numbers, agreement = np.arange(len(points)), np.full(len(points), view.agreement)
        return _Guess(numbers, shape.posterior(points, scale, pose), agreement, scale, pose)

    def _refined(self, guess: _Guess, scan: Scan, number: int, level: Level, shape: ShapeModel | None) -> _Guess:
        rows = np.flatnonzero(np.isfinite(guess.points_mm).all(1) & (guess.presence >= self.min_presence))
        if not len(rows):
            return guess
        pose = guess.pose[:3, :3] @ scan.grid.upright
        moves, sigma = self._moves(scan, number, level, guess.points_mm[rows], guess.numbers[rows], pose)
        points, scale = guess.points_mm.copy(), guess.scale_mm.copy()
        points[rows] += np.broadcast_to(level.share, len(self.names))[guess.numbers[rows], None] * moves
        scale[rows] = sigma
        if self.pose == "any" and shape is not None and np.isfinite(points).all(1).sum() >= 3:
            noise = np.sqrt(12) * scale  # a Laplace scale b in 3D: the root mean square of a Gamma(3, b)
            # The points are better than the peaks were: so is the pose they give.
            lie = fit_similarity(shape.mean_mm, points, noise**-2)
            return replace(guess, points_mm=shape.posterior(points, noise, lie), scale_mm=scale, pose=lie)
        return replace(guess, points_mm=points, scale_mm=scale)

    def _stepped(self, guess: _Guess, scan: Scan, number: int, level: Level, shape: ShapeModel | None) -> _Guess:
        """From the landmarks that are mistaken least to their neighbours in the tree, and on to theirs.

        They are refined first: a step is as good as the place where it begins.
        """
        for later, finer in enumerate(self.levels[number + 1 :], number + 1):
            for _ in range(finer.passes):
                guess = self._refined(guess, scan, later, finer, shape)
        tree, points = self.network.kept_tree(), guess.points_mm.copy()
        there = np.isfinite(points).all(1) & (guess.presence >= self.min_presence)
        if tree is None or guess.weights is None or len(points) != len(self.names) or there.sum() < 2:
            return guess
        usual = self.network.kept_places()
        # What validation says of the first stage's mistakes holds in its own fields of view.
        known = self.network.mistakes.cpu().numpy() if usual is None or usual.known(scan.grid) else 0.0
        mistakes = np.where(there, known, np.inf)
        first = int(np.where(mistakes == mistakes.min(), guess.weights, -1).argmax())
        sure = (mistakes <= mistakes[first]) & (guess.weights >= _AS_SURE * guess.weights[first])
        left, layer = there & ~sure, np.flatnonzero(there & sure).tolist()
        while ways := [way for way in tree.ways() if way[0] in layer and left[way[1]]]:
            starts, ends, numbers = np.array(ways).T
            moves, _ = self._moves(scan, number, level, points[starts], numbers, scan.grid.upright)
            points[ends] = points[starts] + moves
            left[ends], layer = False, ends.tolist()
        return replace(guess, points_mm=points)

    def _moves(
        self, scan: Scan, number: int, level: Level, starts_mm: FloatArray, rows: IndexArray, pose: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """(R, 3) world mm from points to where a refiner sees the landmarks of these numbers, and its (R,) scale."""
        step = pose * level.spacing_mm
        targets = [patch_grid(scan.grid, point, pose, level.size, level.spacing_mm) for point in starts_mm]
        source = scan.source(targets[0], len(targets) * level.passes)
        moves, scale = np.zeros((len(rows), 3)), np.zeros(len(rows))
        for some in np.array_split(np.arange(len(rows)), -(-len(rows) // 32)):  # 32 patches at a time bound the memory
            patches = cut_patches(*source, [targets[row] for row in some], self.window, scan.limits)
            found, log_variance = self.network.refiners[number](
                patches[:, None].to(self.device), torch.as_tensor(rows[some], device=self.device)
            )
            moves[some] = found.double().cpu().numpy() @ step.T
            scale[some] = np.exp(log_variance.double().cpu().numpy() / 2) * np.cbrt(abs(np.linalg.det(step)))
        return moves, scale

    def _reported(self, guess: _Guess, grid: Grid, factor: float, unit: str) -> Landmarks:
        there = (guess.presence >= self.min_presence) & grid.contains(guess.points_mm)
        points = np.where(there[:, None], guess.points_mm / factor, np.nan)
        error = np.where(there, guess.scale_mm * self.network.error_ratio.cpu().numpy() / factor, np.nan)
        names = tuple(self.names[number] for number in guess.numbers)
        presence = np.clip(guess.presence, 0, 1)
        outside = ~there & (presence >= self.min_presence)  # a point that was moved out of the image is not in it
        return Landmarks(names, points, np.where(outside, 0.0, presence), error, unit)
