"""Codecs: landmarks to what a network predicts and back, encode and decode of one representation in one file."""

from lmk3d.codecs.dense import DenseCodec, contour_masks
from lmk3d.codecs.heatmap import HeatmapCodec, Peaks
from lmk3d.codecs.places import UsualPlaces
from lmk3d.codecs.shape import ShapeModel
from lmk3d.codecs.tree import LandmarkTree

__all__ = ["DenseCodec", "HeatmapCodec", "LandmarkTree", "Peaks", "ShapeModel", "UsualPlaces", "contour_masks"]
