"""What is learnt from a data list before the first step of a training: shapes, steps, places, a template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmk3d.codecs import LandmarkTree, ShapeModel, UsualPlaces
from lmk3d.geometry import Grid
from lmk3d.transforms.loading import LoadCased, points_of
from lmk3d.transforms.registration import Template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["learn_places", "learn_shape", "learn_template", "learn_tree"]


def learn_places(cases: Sequence[Mapping[Any, Any]], names: Sequence[str]) -> UsualPlaces:
    """Where the landmarks of a data list lie in their images; see ``UsualPlaces.learn``. It reads every image."""
    points, grids = [], []
    for case in map(LoadCased(names), cases):
        points.append(case["label"])
        grids.append(Grid.of(case["image"]))
    return UsualPlaces.learn(points, grids)


def learn_shape(cases: Sequence[Mapping[Any, Any]], names: Sequence[str], *, shrinkage: float = 0.5) -> ShapeModel:
    """The shape model of the points of a data list; see ``ShapeModel.from_shapes``."""
    shapes = [points_of(case).ordered(names).points_mm for case in cases]
    return ShapeModel.from_shapes(shapes, shrinkage=shrinkage)


def learn_tree(
    cases: Sequence[Mapping[Any, Any]], names: Sequence[str], *, films: bool = False, side_px: float | None = None
) -> LandmarkTree:
    """The steps between neighbours in a data list; see ``LandmarkTree.from_shapes``.

    Args:
        cases: of ``lmk3d.training.datalist``.
        names: the landmarks', in order.
        films: whether the cases are films, whose points are taken along their own rows and columns.
        side_px: of films without a spacing; see ``LoadCased``.
    """
    if not films:
        return LandmarkTree.from_shapes([points_of(case).ordered(names).points_mm for case in cases])
    read = LoadCased(names, side_px=side_px)
    loaded = (read(case) for case in cases)
    return LandmarkTree.from_shapes([case["label"] @ Grid.of(case["image"]).upright for case in loaded])


def learn_template(
    cases: Sequence[Mapping[Any, Any]], names: Sequence[str], *, shape: Sequence[int], margin_mm: float
) -> Template:
    """The first case of a data list, cut round its landmarks; see ``Template.cut``."""
    case = LoadCased(names)(cases[0])
    image = case["image"]
    return Template.cut(image.as_tensor()[0], Grid.of(image), case["label"], shape=shape, margin_mm=margin_mm)
