"""MONAI's model zoo: a bundle in the zoo's layout, and everything that its checks will ask, without a network."""

from lmk3d.zoo.export import export_bundle
from lmk3d.zoo.verify import verify_bundle

__all__ = ["export_bundle", "verify_bundle"]
