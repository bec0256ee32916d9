"""Radiographs of a CT: rays from a source through the volume to a film, at two energies, with noise and blur.

A landmark of the CT is exactly where its ray meets the film, so that truth is known on the film as it is in space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lmk3d.geometry import Grid, Volume, film_affine
from lmk3d.synthetic.draws import Draws

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Energy", "XRayView", "radiograph"]

Energy = Literal["kv", "mv"]

# Linear attenuation of water, 1/mm, at 70 keV (a diagnostic beam's mean) and 2 MeV (that of a 6 MV beam).
# Source: NIST XCOM; 0.193 and 0.0494 cm2/g.
_WATER = {"kv": 0.0193, "mv": 0.00494}
# Electrons of tissue denser than water grow by one part of water for so many HU, and at megavolts attenuation counts
# electrons alone. Source: Thomas 1999, Br J Radiol 72:781, whose line starts at 100 HU; here at 0, without its step.
_DENSE_HU = 1950.0


@dataclass(frozen=True, eq=False)
class XRayView:
    """An X-ray source and a film, both in the CT's world.

    Args:
        source_mm: (3,) world RAS mm.
        film: where the film's pixels lie in the world, one voxel deep: rows along i, columns along j.
    """

    source_mm: FloatArray
    film: Grid

    @classmethod
    def frontal(
        cls, center_mm: ArrayLike, shape: tuple[int, int], spacing_mm: float, *, shift_mm: ArrayLike = (0, 0),
        turn_deg: float = 0.0
    ) -> XRayView:  # fmt: skip
        """The patient seen from the front, right on the viewer's left; the film 500 mm behind what is 1 m off.

        Args:
            center_mm: (3,) world RAS mm of what lies in the film's middle, 1000 mm from the source.
            shape: rows and columns.
            spacing_mm: of the film's pixels.
            shift_mm, turn_deg: how far the film alone is moved along its columns and rows and turned in its plane.
        """
        center = np.asarray(center_mm, dtype=np.float64)
        back, down, across = np.array([0, -1.0, 0]), np.array([0, 0, -1.0]), np.array([-1.0, 0, 0])
        cosine, sine = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
        axes = np.stack([cosine * down - sine * across, cosine * across + sine * down, back], axis=1)
        shift = np.asarray(shift_mm, dtype=np.float64)
        middle = center + 500.0 * back + shift[0] * across + shift[1] * down
        return cls(center - 1000.0 * back, Grid.around(middle, (*shape, 1), spacing_mm, axes))

    @property
    def own_grid(self) -> Grid:
        """The film as any picture file has it: its first pixel at the origin, rows down, columns across."""
        down, across, _ = self.film.spacing_mm
        return Grid(self.film.shape, film_affine((down, across)))

    def project(self, points_mm: ArrayLike) -> FloatArray:
        """(..., 3) film positions, in the film's own frame, of (..., 3) world points; NaN stays NaN."""
        points = np.asarray(points_mm, dtype=np.float64)
        normal, rays = self.film.axes[:, 2], points - self.source_mm
        far = (self.film.center_mm - self.source_mm) @ normal / (rays @ normal)
        return self.own_grid.to_mm(self.film.to_vox(self.source_mm + far[..., None] * rays) * [1.0, 1.0, 0.0])


def radiograph(
    volume: Volume,
    view: XRayView,
    *,
    energy: Energy = "kv",
    photons: float = np.inf,
    blur_mm: float = 0.0,
    seed: int = 0,
) -> Volume:
    """The film that a CT gives: line integrals of attenuation, bone bright as on a radiograph.

    Args:
        volume: HU; where it ends there is air.
        view: source and film.
        energy: "kv" sees bone by its calcium, "mv" by its density alone, so that soft tissue and bone hardly differ.
        photons: that would reach a pixel with nothing in the way; their number's noise is left out when infinite.
        blur_mm: standard deviation on the film of the focal spot's and the screen's blur; it comes before the noise.
        seed: of the noise.
    Returns:
        float32 on ``view.own_grid``: minus the logarithm of the part of the rays that arrived.
    Raises:
        ValueError: for an unknown energy, or a source that lies in the film's plane.
    """
    if energy not in get_args(Energy):
        raise ValueError(f"energy must be kv or mv, got {energy!r}")
    if abs((view.film.center_mm - view.source_mm) @ view.film.axes[:, 2]) < 1.0:
        raise ValueError("the source lies in the film's plane; move it away from the film")
    from scipy.ndimage import gaussian_filter

    depth = _line_integrals(volume, view, energy)
    arrived = np.exp(-depth)
    if blur_mm > 0:
        arrived = gaussian_filter(arrived, blur_mm / view.film.spacing_mm[:2], mode="nearest")
    if np.isfinite(photons):
        # Poisson counts of many photons are normal with their own number as variance.
        noise = Draws(seed, stream=4).noise((*depth.shape, 1))[..., 0]
        arrived = np.maximum(arrived + noise * np.sqrt(arrived / photons), 0.5 / photons)
    return Volume(-np.log(arrived).astype(np.float32)[..., None], view.own_grid)


def _line_integrals(volume: Volume, view: XRayView, energy: Energy) -> FloatArray:
    """(rows, columns) attenuation along each ray, summed at steps of the finest spacing."""
    from scipy.ndimage import map_coordinates

    grid, film = volume.grid, view.film
    attenuation = _attenuation(volume.data, energy)
    pixels = film.to_mm(np.stack(np.meshgrid(*map(np.arange, film.shape), indexing="ij"), axis=-1))[:, :, 0]
    rays = pixels - view.source_mm
    # Where along the rays the volume lies: the ends of its box, as parts of the way from source to film.
    ends = np.array([[-0.5, side - 0.5] for side in grid.shape])
    corners = grid.to_mm(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3))
    normal = film.axes[:, 2]
    parts = (corners - view.source_mm) @ normal / ((film.center_mm - view.source_mm) @ normal)
    low, high = max(float(parts.min()), 0.0), min(float(parts.max()), 1.0)
    lengths = np.linalg.norm(rays, axis=-1)
    count = max(1, int(np.ceil((high - low) * lengths.max() / grid.spacing_mm.min())))
    start, step = grid.to_vox(view.source_mm), rays @ np.linalg.inv(grid.affine[:3, :3]).T
    start, step = start[:, None, None].astype(np.float32), np.moveaxis(step, -1, 0).astype(np.float32)
    total = np.zeros(film.shape[:2])
    for part in low + (np.arange(count) + 0.5) * (high - low) / count:
        at = start + np.float32(part) * step
        total += map_coordinates(attenuation, at, order=1, mode="constant", cval=0.0, prefilter=False)
    return total * lengths * (high - low) / count


def _attenuation(hu: NDArray[np.generic], energy: Energy) -> NDArray[np.float32]:
    """Linear attenuation, 1/mm, of Hounsfield units."""
    relative = hu.astype(np.float32) / np.float32(1000.0)
    if energy == "mv":
        relative = np.where(relative > 0, relative * np.float32(1000.0 / _DENSE_HU), relative)
    return np.asarray(np.maximum(relative + 1, 0) * np.float32(_WATER[energy]), dtype=np.float32)
