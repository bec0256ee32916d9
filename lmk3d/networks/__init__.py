"""Networks: tensors in, logits (or moves) out; one file for each published architecture, shared blocks beside them."""

from lmk3d.networks.appearance_context import AppearanceContextNet
from lmk3d.networks.bone_age import BoneAgeEnsemble, BoneAgeMLP
from lmk3d.networks.cascade import Cascade
from lmk3d.networks.dense_shape import DenseShapeNet, ResidualHeatmapNet
from lmk3d.networks.heatmap_coordinate import HeatmapCoordinateNet
from lmk3d.networks.landmarknet import LandmarkNet
from lmk3d.networks.means import MeanMaps, MeanMoves
from lmk3d.networks.refiners import HeatmapRefiner, RegressionRefiner
from lmk3d.networks.spatial_configuration import SpatialConfigurationNet
from lmk3d.networks.unet import HeatmapUNet

__all__ = [
    "AppearanceContextNet",
    "BoneAgeEnsemble",
    "BoneAgeMLP",
    "Cascade",
    "DenseShapeNet",
    "HeatmapCoordinateNet",
    "HeatmapRefiner",
    "HeatmapUNet",
    "LandmarkNet",
    "MeanMaps",
    "MeanMoves",
    "RegressionRefiner",
    "ResidualHeatmapNet",
    "SpatialConfigurationNet",
]
