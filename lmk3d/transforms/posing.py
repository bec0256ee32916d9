"""Random poses: the patient stays where he is and the grid that looks at him turns, so no landmark is ever moved.

Only an elastic deformation moves points, because no affine can express it; a mirror swaps the names of left and right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform

from lmk3d.geometry import Grid, apply_affine, fit_similarity, random_rotation
from lmk3d.transforms.registration import register
from lmk3d.transforms.sampling import Waves, resample

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from monai.config import KeysCollection
    from numpy.typing import NDArray

    from lmk3d.codecs.shape import ShapeModel
    from lmk3d.transforms.intensity import EqualizedWindow, Window
    from lmk3d.transforms.registration import Template

__all__ = [
    "EncodePointsd",
    "LayOverd",
    "PosedImaged",
    "RandFieldOfViewd",
    "RandMirrord",
    "RandPosed",
    "RandWavesd",
    "canonical_pose",
    "disturbed_pose",
]

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
"""Left for right, in the world."""

_USUAL_ZOOM = 0.1
_OUTSIDE = -1e4  # the index, along each axis, of a landmark that is known to lie outside of the image


def canonical_pose(model: ShapeModel | None, points_mm: NDArray[np.float64], *, mirrored: bool) -> NDArray[np.float64]:
    """(3, 3) directions and size in which the model's mean lies over the points, mirrored or not.

    Without a model, or with fewer than three points, the world's axes at their own size.
    """
    mirror = MIRROR if mirrored else np.eye(4)
    if model is None or np.isfinite(points_mm).all(1).sum() < 3:
        return mirror[:3, :3]
    return mirror[:3, :3] @ fit_similarity(model.mean_mm, apply_affine(mirror, points_mm))[:3, :3]


def disturbed_pose(
    pose: NDArray[np.float64], volume: Grid, generator: np.random.RandomState, max_angle: float
) -> NDArray[np.float64]:
    """A (3, 3) pose turned at random by up to ``max_angle`` radians; over a film only within the film's plane."""
    if volume.shape[2] > 1:
        return pose @ random_rotation(generator, max_angle)
    angle, normal = generator.uniform(-max_angle, max_angle), volume.axes[:, 2]
    across = np.cross(normal, np.eye(3)).T
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * np.outer(normal, normal)
    return turn @ pose


class RandWavesd(RandomizableTransform, MapTransform):
    """Deform the patient by random waves: notes them under ``waves`` for the transforms that sample, moves the points.

    Args:
        keys: (N, 3) world points.
        image_key: the image they lie in; a film's waves stay within its plane.
        amplitude_mm: the largest root sum square of the waves' amplitudes.
        wavelength_mm: the shortest wave; six amplitudes over it must stay under 1, or the image folds.
        prob: how often.
    Raises:
        ValueError: if the waves could fold the image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        amplitude_mm: float,
        wavelength_mm: float,
        prob: float = 0.5,
        image_key: str = "image",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        # The steepest slope is at most 2 pi / wavelength times the sum of amplitudes <= sqrt(6) times their norm.
        if 2 * np.pi * np.sqrt(6) * amplitude_mm > 0.95 * wavelength_mm:
            raise ValueError(
                f"amplitude_mm {amplitude_mm} with wavelength_mm {wavelength_mm} would fold the image; "
                f"keep the amplitude under {0.95 * wavelength_mm / (2 * np.pi * np.sqrt(6)):.3g}"
            )
        self.amplitude_mm, self.wavelength_mm, self.image_key = amplitude_mm, wavelength_mm, image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        self.randomize(None)
        out["waves"] = None
        if self._do_transform:
            waves = Waves.drawn(self.R, amplitude_mm=self.amplitude_mm, wavelength_mm=self.wavelength_mm)
            if out[self.image_key].shape[-1] == 1:
                waves = waves.within(Grid.of(out[self.image_key]).axes[:, 2])
            out["waves"] = waves
            for key in self.key_iterator(out):
                out[key] = waves.inverse(out[key])
        return out


class RandMirrord(RandomizableTransform, MapTransform):
    """Look at the patient in a mirror half of the time: swaps left and right rows, notes it under ``mirrored``.

    Args:
        keys: (N, 3) world points, in the order of ``names``.
        names: of the landmarks.
        pairs: names of left and right partners; without any the transform never mirrors.
        one_sided: names without a partner that lie to one side; a mirrored patient does not show them.
        prob: how often.
    Raises:
        ValueError: if a pair or ``one_sided`` has a name that is none of ``names``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        names: Sequence[str],
        pairs: Sequence[Sequence[str]],
        *,
        one_sided: Sequence[str] = (),
        prob: float = 0.5,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob if pairs else 0.0)
        place = {name: row for row, name in enumerate(names)}
        self.order = np.arange(len(place))
        for left, right in pairs:
            if left not in place or right not in place:
                raise ValueError(f"pair {left!r}, {right!r} is not among the landmarks {list(names)}")
            self.order[[place[left], place[right]]] = place[right], place[left]
        if unknown := [name for name in one_sided if name not in place]:
            raise ValueError(f"one_sided {unknown[0]!r} is not among the landmarks {list(names)}")
        self.lost = [place[name] for name in one_sided]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        self.randomize(None)
        out["mirrored"] = bool(self._do_transform)
        if self._do_transform:
            for key in self.key_iterator(out):
                out[key] = out[key][self.order]
                out[key][self.lost] = np.nan
        return out


class RandPosed(RandomizableTransform, MapTransform):
    """Draw the grid the first stage looks through, and note it under ``grid``.

    Over a film the grid keeps the film's own axes, turns and moves within its plane, and must be one voxel deep.

    Args:
        keys: the volumes whose middle the grid is drawn round.
        sides: voxels of the grid along (i, j, k).
        spacing_mm: its spacing before the random zoom.
        max_angle: radians; pi draws from all rotations alike.
        zoom: the spacing is multiplied by a number drawn log-uniformly from 1 / (1 + zoom) to 1 + zoom.
        shift_mm: half range of the shift of the middle along R, A, S; one number, or one for each.
        crop: for grids smaller than the volume: put the middle anywhere the grid still lies within the volume, half of
            the time so that a random landmark lies within the grid.
        shape: turn and zoom from the pose in which this shape model lies over the points, not from the world's axes.
        points_key: those points.
        reflect: how often, beyond its end, the image goes on mirrored instead of with air: so that the end of the image
            does not tell where an anatomy is. Noted under ``reflected``.
        usual: how often the grid lies as over a scan that is planned like those of the training: moved by no more than
            ``usual_shift_mm``, zoomed by no more than a tenth, with air beyond the image. Noted under ``usual``. What
            their field of view tells of an anatomy's place is then learnt for such scans, and for no others.
        usual_shift_mm: see there; one number, or one for each of R, A, S.
        template: draw the grid over this image instead, and lay it over the volume as ``LayOverd`` found the template
            in it.
    Raises:
        ValueError: if ``sides`` are not three.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the bundle
        self,
        keys: KeysCollection,
        sides: Sequence[int],
        *,
        spacing_mm: float,
        max_angle: float = 0.0,
        zoom: float = 0.0,
        shift_mm: float | Sequence[float] = 0.0,
        crop: bool = False,
        shape: ShapeModel | None = None,
        points_key: str = "label",
        reflect: float = 0.0,
        usual: float = 0.0,
        usual_shift_mm: float | Sequence[float] = 0.0,
        template: Template | None = None,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.reflect, self.usual, self.usual_shift_mm = reflect, usual, np.asarray(usual_shift_mm, float)
        if len(sides) != 3 or min(sides) < 1:
            raise ValueError(f"sides must be three numbers of at least 1 voxel, got {list(sides)}")
        self.model, self.points_key, self.template = shape, points_key, template
        self.sides, self.spacing_mm, self.max_angle = tuple(sides), spacing_mm, max_angle
        self.zoom, self.shift_mm, self.crop = zoom, np.asarray(shift_mm, float), crop

    def drawn(self, volume: Grid, points_mm: NDArray[np.float64], *, mirrored: bool, usual: bool = False) -> Grid:
        """A random grid over a volume."""
        zoom, most_mm = (min(self.zoom, _USUAL_ZOOM), self.usual_shift_mm) if usual else (self.zoom, self.shift_mm)
        flat = volume.shape[2] == 1
        pose = canonical_pose(self.model, points_mm, mirrored=mirrored) @ volume.upright
        pose = disturbed_pose(pose, volume, self.R, self.max_angle)
        scale = np.cbrt(abs(np.linalg.det(pose)))
        spacing = scale * self.spacing_mm * np.exp(self.R.uniform(-1, 1) * np.log1p(zoom))
        shift = self.R.uniform(-1, 1, size=3) * most_mm
        if self.crop:
            shift = shift + self._cropped(volume, points_mm, spacing * np.asarray(self.sides), pose / scale)
        if flat:
            shift = shift - volume.axes[:, 2] * (volume.axes[:, 2] @ shift)
        return Grid.around(volume.center_mm + shift, self.sides, spacing, pose / scale)

    def _cropped(
        self, volume: Grid, points_mm: NDArray[np.float64], sides_mm: NDArray[np.float64], axes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """A random way from the volume's middle to that of the grid, whose ``sides_mm`` lie along ``axes``."""
        room = np.maximum(0, np.abs(axes.T @ volume.axes) @ volume.sides_mm - sides_mm) / 2
        there = points_mm[volume.contains(points_mm)]
        if not len(there) or self.R.random_sample() < 0.5:
            return axes @ self.R.uniform(-room, room)
        near = (there[self.R.randint(len(there))] - volume.center_mm) @ axes
        return axes @ np.clip(near + self.R.uniform(-0.4, 0.4, size=3) * sides_mm, -room, room)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        usual = out["usual"] = self.usual > 0 and bool(self.R.random_sample() < self.usual)
        out["reflected"] = not usual and self.reflect > 0 and bool(self.R.random_sample() < self.reflect)
        for key in self.key_iterator(out):
            points, mirrored = np.asarray(out[self.points_key]), out.get("mirrored", False)
            if self.template is None:
                out["grid"] = self.drawn(Grid.of(out[key]), points, mirrored=mirrored, usual=usual)
                continue
            back = apply_affine(np.linalg.inv(out["laid"]), points)
            grid = self.drawn(self.template.grid, back, mirrored=mirrored, usual=usual)
            out["grid"] = Grid(grid.shape, out["laid"] @ grid.affine)
        return out


class LayOverd(MapTransform):
    """Find the template in the volume, and note its (4, 4) affine, template world to image world, under ``laid``.

    Args:
        keys: volumes, ``MetaTensor`` (1, I, J, K).
        template: what to find; see ``lmk3d.transforms.registration.register``.
    """

    def __init__(self, keys: KeysCollection, template: Template) -> None:
        super().__init__(keys)
        self.template = template

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out["laid"] = register(self.template, out[key].as_tensor()[0], Grid.of(out[key]))
        return out


class PosedImaged(MapTransform):
    """Sample the volume on the grid under ``grid``, scale its intensities: the first stage's input.

    Args:
        keys: volumes, ``MetaTensor`` (1, I, J, K).
        window: how stored numbers become 0 to 1.
        output: key of the result, a ``MetaTensor`` (1, ...) with the grid's affine.

    >>> from lmk3d.transforms.intensity import Window
    >>> image = MetaTensor(torch.arange(4.0)[None, :, None, None].expand(1, 4, 2, 2), affine=torch.eye(4))
    >>> data = {"image": image, "coarse": image[0], "grid": Grid.around([1.25, 0.5, 0.5], (2, 1, 1), 0.5)}
    >>> PosedImaged("image", Window(0, 4))(data)["input"].as_tensor().flatten()
    tensor([0.2500, 0.3750])
    """

    def __init__(self, keys: KeysCollection, window: Window | EqualizedWindow, *, output: str = "input") -> None:
        super().__init__(keys)
        self.window, self.output = window, output

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            limits = self.window.limits(out["coarse"])
            image = resample(
                out[key].as_tensor()[0],
                Grid.of(out[key]),
                out["grid"],
                fill=limits[0],
                waves=out.get("waves"),
                reflect=out.get("reflected", False),
            )
            affine = torch.tensor(out["grid"].affine)
            out[self.output] = MetaTensor(self.window.scale(image, limits)[None], affine=affine)
        return out


class EncodePointsd(MapTransform):
    """Add the landmarks' sub-voxel indices on the image's grid, (N, 3) float32; NaN stays NaN.

    Args:
        keys: (N, 3) world points.
        image_key: the image whose affine, holding every spatial step, turns mm into voxels.
        stride: count in voxels of a map this many times coarser than the image.
        output: key of the result.

    >>> image = MetaTensor(torch.zeros(1, 8, 8, 8), affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0])))
    >>> EncodePointsd("points")({"input": image, "points": np.array([[4.0, 6.0, 0.0]])})["points_vox"]
    tensor([[2., 3., 0.]])
    """

    def __init__(
        self, keys: KeysCollection, *, image_key: str = "input", stride: int = 1, output: str = "points_vox"
    ) -> None:
        super().__init__(keys)
        self.image_key, self.stride, self.output = image_key, stride, output

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            grid = Grid.of(out[self.image_key])
            # A film is one voxel deep, and so is its map.
            points = grid.coarsened([min(self.stride, side) for side in grid.shape]).to_vox(out[key])
            out[self.output] = torch.as_tensor(points, dtype=torch.float32)
        return out


class RandFieldOfViewd(RandomizableTransform, MapTransform):
    """Blank what lies beyond a random box, as if the scan had ended there; landmarks beyond it are not in the image.

    A sample that ``RandPosed`` notes as ``usual`` is left as it is.

    Args:
        keys: images of 0 to 1, (1, I, J, K), whose 0 is air.
        points_key: (N, 3) or (N, M, 3) the landmarks' indices on the image's grid, or one ``stride`` times coarser;
            those that are cut off are moved far outside, which losses take for "not in the image".
        stride: see there.
        cut: the largest share of a side that is cut off at one of its ends; each end is cut half of the time.
        prob: how often.
    Raises:
        ValueError: if nothing might be left of a side.

    >>> data = {"input": torch.ones(1, 20, 20, 20), "points_vox": torch.full((1, 3), 10.0)}
    >>> RandFieldOfViewd("input", cut=0.35, prob=1.0)(data)["points_vox"]  # in the middle, which is never cut off
    tensor([[10., 10., 10.]])
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        points_key: str = "points_vox",
        stride: int = 1,
        cut: float = 0.35,
        prob: float = 0.5,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        if not 0 <= cut < 0.5:
            raise ValueError(f"cut must be at least 0 and below 0.5, got {cut}")
        self.points_key, self.stride, self.cut = points_key, stride, cut

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            self.randomize(None)
            if not self._do_transform or out.get("usual", False):
                continue
            image, points = out[key].clone(), out[self.points_key].clone()
            for axis, side in enumerate(image.shape[1:]):
                step = min(self.stride, side)
                for end in (0, 1):
                    if side == 1 or self.R.random_sample() >= 0.5:
                        continue
                    size = int(self.R.uniform(0, self.cut) * side)
                    image.narrow(axis + 1, end * (side - size), size).zero_()
                    at = (points[..., axis] + 0.5) * step  # of the image's voxels, its first face at 0
                    points[(at > side - size) if end else (at < size)] = _OUTSIDE
            out[key], out[self.points_key] = image, points
        return out
