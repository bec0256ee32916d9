"""A data set in numbers: sizes, spacings, intensities, points; training derives its settings from them."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

    FloatArray = NDArray[np.float64]

__all__ = ["Fingerprint", "ImageFacts", "measure_image", "otsu", "summarise"]

PERCENTILES = (0.5, 50.0, 99.5)
# Voxels of one image that take part in the percentiles; more change them by less than the images differ.
_SAMPLE = 200_000
_POOLED = 10_000
# Medians and spans of CT differ by less than this part of a span from scan to scan, those of MR and films by more.
_SAME_SCALE = 0.12
# An image whose least number is no lower than this does not hold Hounsfield units.
_AIR_HU = -200.0


@dataclass(frozen=True)
class ImageFacts:
    """One image and its points in numbers.

    Args:
        name: the case.
        section: "training", "validation" or "test".
        shape: voxels along i, j, k.
        spacing_mm: distance of voxels along i, j, k (px where ``unit`` says so).
        size_mm: (3,) sides of the box round the image along R, A, S.
        unit: "mm" or "px".
        dtype: type of the voxels as read.
        minimum, maximum: of all voxels.
        percentiles: 0.5, 50 and 99.5 of the foreground.
        sample: voxels of the foreground, at most 10,000, evenly drawn.
        points: how many points each name has here.
        extent_mm: (3,) sides of the landmarks' box along R, A, S; None without points.
        offset_mm: (3,) from the image's middle to the mean of its landmarks along R, A, S; None without points.
        box: lowest and highest place of a landmark along i, j, k, as fractions of the image (0 and 1 are its faces).
    """

    name: str
    section: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    size_mm: tuple[float, ...]
    unit: str
    dtype: str
    minimum: float
    maximum: float
    percentiles: tuple[float, ...]
    sample: FloatArray
    points: dict[str, int]
    extent_mm: tuple[float, ...] | None
    offset_mm: tuple[float, ...] | None
    box: tuple[tuple[float, ...], tuple[float, ...]] | None


@dataclass(frozen=True)
class Fingerprint:
    """A data set in numbers; plain values only, so that ``to_dict`` can go into a JSON file.

    Args:
        name: of the data set.
        unit: "mm", "px", "mixed", or "" without readable images.
        cases: how many readable images each section has.
        images: for each its name, section, shape, spacing_mm, size_mm, offset_mm, dtype, minimum, maximum and
            percentiles.
        median_shape, median_spacing_mm, median_size_mm: of the images, along i, j, k.
        minimum, maximum: over all voxels of all images.
        percentiles: 0.5, 50 and 99.5 of the foreground voxels of all images, each image counting the same.
        points: how many points each landmark's name has in all images.
        median_extent_mm: sides of the landmarks' box along R, A, S, the median of the images; empty without points.
        box: lowest and highest place of a landmark along i, j, k over all images, as fractions of the image.
    """

    name: str
    unit: str
    cases: dict[str, int]
    images: list[dict[str, Any]]
    median_shape: list[float]
    median_spacing_mm: list[float]
    median_size_mm: list[float]
    minimum: float | None
    maximum: float | None
    percentiles: list[float]
    points: dict[str, int]
    median_extent_mm: list[float]
    box: list[list[float]]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return asdict(self)

    @property
    def sizes(self) -> list[list[int]]:
        """Voxels along i, j, k of each image."""
        return [image["shape"] for image in self.images]

    @property
    def spacings_mm(self) -> list[list[float]]:
        """Distance of voxels along i, j, k of each image."""
        return [image["spacing_mm"] for image in self.images]

    def window(self) -> tuple[float, float, bool]:
        """Which stored numbers a network should tell apart.

        Returns:
            Low, high, and whether these are percentiles of each image. Stored numbers where they are Hounsfield units,
            which agree between images and whose air lies far below zero: from the foreground's 99.5 percentile down to
            twice as far as its 0.5 percentile, so that air stays apart from tissue. Otherwise (MR, films) the
            percentiles 0.5 and 99.5: that such numbers agree within a data set says nothing of the next scanner.
        """
        rows = np.array([image["percentiles"] for image in self.images]).reshape(-1, len(PERCENTILES))
        spans = rows[:, 2] - rows[:, 0]
        lowest = [image["minimum"] for image in self.images]
        differ = not len(rows) or max(rows[:, 1].std(), spans.std()) > _SAME_SCALE * np.median(spans)
        if differ or np.median(lowest) > _AIR_HU:
            return PERCENTILES[0], PERCENTILES[2], True
        low, _, high = self.percentiles
        if not low < high or self.minimum is None:
            return PERCENTILES[0], PERCENTILES[2], True
        return max(self.minimum, 2 * low - high), high, False

    def table(self) -> str:
        """A text of a dozen lines or so for the terminal."""
        cases = ", ".join(f"{count} {section}" for section, count in self.cases.items()) or "none readable"
        lines = [f"{'data set':<12}{printable(self.name)}", f"{'images':<12}{cases}"]
        if self.images:
            lines += [
                _range("voxels", self.sizes, self.median_shape, ""),
                _range("spacing", self.spacings_mm, self.median_spacing_mm, self.unit),
                f"{'size':<12}median {_row(self.median_size_mm)} {self.unit}",
                f"{'values':<12}{self.minimum:.6g} to {self.maximum:.6g}; foreground "
                + ", ".join(f"{p:g} %: {value:.6g}" for p, value in zip(PERCENTILES, self.percentiles, strict=True)),
            ]
        if self.median_extent_mm:
            low, high = ([f"{value:.2f}" for value in row] for row in self.box)
            lines += [
                f"{'landmarks':<12}median extent {_row(self.median_extent_mm)} {self.unit} (R, A, S); within "
                + ", ".join(f"{a} to {b}" for a, b in zip(low, high, strict=True))
                + " of the image (i, j, k)",
            ]
        total = sum(self.cases.values())
        for row, count in enumerate(sorted(set(self.points.values()), reverse=True)):
            names = ", ".join(name for name, own in self.points.items() if own == count)
            text = f"{'' if row else 'points':<12}{count} of {total}: {names}"
            lines += textwrap.wrap(text, 110, subsequent_indent=" " * 12, break_long_words=False)
        return "\n".join(lines)


def _row(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _range(title: str, rows: list[Any], median: list[float], unit: str) -> str:
    low, high = np.min(rows, axis=0), np.max(rows, axis=0)
    ranges = "" if np.array_equal(low, high) else f", from {_row(low)} to {_row(high)}"
    return f"{title:<12}median {_row(median)}{ranges} {unit}".rstrip()


def measure_image(volume: Volume, landmarks: Landmarks | None, name: str, section: str) -> ImageFacts:
    """One image's part of the fingerprint.

    Args:
        volume: the image; at least one voxel finite.
        landmarks: its points, or None.
        name, section: where it stands in the data set.
    """
    data, grid = volume.data, volume.grid
    sample = foreground(data)
    finite = data if data.dtype.kind != "f" or np.isfinite(data).all() else data[np.isfinite(data)]
    present = None if landmarks is None or not landmarks.present.any() else landmarks.points_mm[landmarks.present]
    extent, offset, box = None, None, None
    if present is not None:
        extent = tuple(np.ptp(present, axis=0).tolist())
        offset = tuple((present.mean(0) - grid.center_mm).tolist())
        places = (grid.to_vox(present) + 0.5) / np.array(grid.shape)
        box = tuple(places.min(0).tolist()), tuple(places.max(0).tolist())
    names = [] if landmarks is None else landmarks.rows(landmarks.present).names
    return ImageFacts(
        name=name,
        section=section,
        shape=grid.shape,
        spacing_mm=tuple(grid.spacing_mm.tolist()),
        size_mm=tuple((np.abs(grid.axes) @ grid.sides_mm).tolist()),
        unit=volume.unit,
        dtype=str(data.dtype),
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        percentiles=tuple(np.percentile(sample, PERCENTILES).tolist()),
        sample=sample[:: max(1, len(sample) // _POOLED)],
        points=dict(Counter(names)),
        extent_mm=extent,
        offset_mm=offset,
        box=box,
    )


def foreground(data: NDArray[Any]) -> FloatArray:
    """Evenly drawn voxels above Otsu's threshold, which parts air from body; all of them where nothing is above it.

    Args:
        data: (I, J, K); voxels that are not finite are left out.
    Returns:
        (M,) at most about 200,000 values.
    """
    step = max(1, round((data.size / _SAMPLE) ** (1 / max(1, sum(side > 1 for side in data.shape)))))
    drawn = data[::step, ::step, ::step].ravel().astype(np.float64)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return np.zeros(1)
    return drawn[drawn > otsu(drawn)]


def otsu(values: FloatArray) -> float:
    """The threshold that parts (M,) values best in two; below all of them where they are alike.

    Source:
        Otsu 1979, on 256 bins between the 0.5 and the 99.5 percentile, which rare extremes do not stretch.
    """
    low, high = np.percentile(values, (0.5, 99.5))
    if low == high:
        low, high = values.min(), values.max()
    if low == high:
        return -np.inf
    counts, edges = np.histogram(np.clip(values, low, high), bins=256, range=(low, high))
    below = np.cumsum(counts)[:-1]
    weighted = np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (weighted[:-1] / below - (weighted[-1] - weighted[:-1]) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between))])


def summarise(name: str, landmark_names: Sequence[str], facts: list[ImageFacts]) -> Fingerprint:
    """The fingerprint of a data set.

    Args:
        name: of the data set.
        landmark_names: its landmarks, which give the points' order; other names follow.
        facts: its readable images; may be empty.
    """
    keys = (
        *("name", "section", "shape", "spacing_mm", "size_mm", "offset_mm"),
        *("dtype", "minimum", "maximum", "percentiles"),
    )
    units = {fact.unit for fact in facts}
    counts = Counter(dict.fromkeys(landmark_names, 0))
    for fact in facts:
        counts.update(fact.points)
    extents = [fact.extent_mm for fact in facts if fact.extent_mm is not None]
    boxes = np.array([fact.box for fact in facts if fact.box is not None]).reshape(-1, 2, 3)
    sizes = [np.multiply(fact.shape, fact.spacing_mm) for fact in facts]
    pooled = [np.percentile(fact.sample, np.linspace(0, 100, 1001)) for fact in facts]
    return Fingerprint(
        name=name,
        unit="mixed" if len(units) > 1 else next(iter(units), ""),
        cases=dict(Counter(fact.section for fact in facts)),
        images=[{key: _plain(getattr(fact, key)) for key in keys} for fact in facts],
        median_shape=_median([fact.shape for fact in facts]),
        median_spacing_mm=_median([fact.spacing_mm for fact in facts]),
        median_size_mm=_median(sizes),
        minimum=min((fact.minimum for fact in facts), default=None),
        maximum=max((fact.maximum for fact in facts), default=None),
        percentiles=np.percentile(np.concatenate(pooled), PERCENTILES).tolist() if pooled else [],
        points=dict(counts),
        median_extent_mm=_median(extents),
        box=[boxes[:, 0].min(0).tolist(), boxes[:, 1].max(0).tolist()] if len(boxes) else [],
    )


def _median(rows: Sequence[Any]) -> list[float]:
    return [float(value) for value in np.median(np.array(rows, float), axis=0)] if len(rows) else []


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
