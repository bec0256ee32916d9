"""The folder of the app that MONAI Label runs, and MONAI Label's own launcher on it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.components import read_config
from lmk3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["APP_FOLDER", "IMAGES", "prepare", "serve"]

APP_FOLDER = "lmk3d_label"
"""Name of the app's folder, inside that of the images: what is learnt of them stays with them."""

IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""Endings of the images that the server offers; MONAI Label's local store knows files, not DICOM folders."""

_HOST = "127.0.0.1"  # nobody but this machine
_MAIN = '''"""Written by `lmk3d label`: MONAI Label looks into this file for the app."""

from lmk3d.label.app import LandmarkApp

__all__ = ["LandmarkApp"]
'''


def prepare(images: Path, bundles: Sequence[Path]) -> Path:
    """Make the app's folder, or add bundles to it; a bundle that is there already, trained or not, stays as it is.

    Args:
        images: folder of the images.
        bundles: folders of bundles, each under its own name.
    Returns:
        The app's folder.
    Raises:
        InputError: if there are no images or a folder is no bundle.
    """
    if not images.is_dir():
        raise InputError(f"{images}: no such folder; give the one that holds the images")
    if not any(path.name.lower().endswith(IMAGES) for path in images.iterdir() if path.is_file()):
        raise InputError(f"{images}: holds no images; put some there ({', '.join(IMAGES)})")
    for bundle in bundles:
        read_config(bundle, "inference.json")
        read_config(bundle, "train.json")
    app = images / APP_FOLDER
    try:
        (app / "model").mkdir(parents=True, exist_ok=True)
        (app / "main.py").write_text(_MAIN, encoding="utf-8")
        for bundle in bundles:
            _add(bundle, app / "model")
    except OSError as error:
        raise InputError(f"{app}: cannot be written ({error.strerror}); choose a folder you may write to") from error
    return app


def _add(bundle: Path, models: Path) -> None:
    target = models / bundle.resolve().name
    if target.exists():
        return
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=models) as staging:
        unwanted = shutil.ignore_patterns("eval", "evaluation", "runs", "last.pt", "*.ts", "*.onnx")
        copied = shutil.copytree(bundle, Path(staging) / target.name, ignore=unwanted)
        copied.rename(target)


def serve(
    images: Path,
    bundles: Sequence[Path],
    *,
    port: int = 8000,
    trust: bool = False,
    keep_untrusted: bool = False,
) -> None:
    """Run MONAI Label on a folder of images until it is stopped; it answers programs and pages of this machine alone.

    Args:
        images: the folder; points that are marked go to its labels/final.
        bundles: to offer; see ``prepare``.
        port: on 127.0.0.1.
        trust: whether training may run code in a bundle's train.json that this package did not write.
        keep_untrusted: whether answers hold points that are not trusted, marked.
    Raises:
        InputError: if MONAI Label is not installed, the port is taken, or as ``prepare``.
    """
    if find_spec("monailabel") is None:
        raise InputError("MONAI Label is not installed; run pip install 'lmk3d[label]' in an environment of its own")
    _check_port(port)
    app = prepare(images, bundles)
    # Read when MONAI Label is imported.
    os.environ.setdefault("MONAI_LABEL_DATASTORE_FILE_EXT", json.dumps([f"*{ending}" for ending in IMAGES]))
    from monailabel.main import Main

    places = ["--app", str(app), "--studies", str(images), "--host", _HOST, "--port", str(port)]
    conf = {"trust": trust, "keep_untrusted": keep_untrusted}
    words = [word for name, value in conf.items() for word in ("--conf", name, str(value).lower())]
    sys.argv = ["monailabel", "start_server", *places, "--uvicorn_app", "lmk3d.label.gate:app", *words]
    Main().run()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: one that just ended is no bar
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"--port: {port} cannot be used ({error}); choose another one") from error
