"""MONAI Label with landmarks: the folder of an app, and the app itself, which only the server imports."""

from lmk3d.label.labelmap import label_map
from lmk3d.label.server import prepare, serve

__all__ = ["label_map", "prepare", "serve"]
