"""Networks: tensors in, logits (or moves) out; one file for each published architecture, shared blocks beside them."""

from lmk3d.networks.bone_age import BoneAgeEnsemble, BoneAgeMLP
from lmk3d.networks.cascade import Cascade
from lmk3d.networks.refiners import HeatmapRefiner, RegressionRefiner
from lmk3d.networks.unet import HeatmapUNet

__all__ = ["BoneAgeEnsemble", "BoneAgeMLP", "Cascade", "HeatmapRefiner", "HeatmapUNet", "RegressionRefiner"]
