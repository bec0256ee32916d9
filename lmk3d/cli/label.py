"""``lmk3d label``: MONAI Label with the project's bundles, for 3D Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.cli.options import add_trust_argument, bundle_folder
from lmk3d.cli.trust import add_keep_untrusted_argument

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the shell."""
    parser = subparsers.add_parser(
        "label",
        help="mark points in 3D Slicer, with MONAI Label",
        description="Start MONAI Label on a folder of images: predict, correct, train, and ask what to mark next.",
        epilog="docs/monai_label.rst says what to click in 3D Slicer. Ctrl-C stops the server.",
    )
    parser.add_argument("images", type=Path, metavar="DATA_DIR", help="folder of the images")
    parser.add_argument(
        "--bundle",
        dest="bundles",
        action="append",
        metavar="B",
        help="a bundle's folder, or the name of a shipped one (cascade); may be given several times",
    )
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="port on 127.0.0.1 (default: 8000)")
    add_keep_untrusted_argument(parser, "offer points that are not trusted, too, marked, to be corrected")
    add_trust_argument(parser)
    parser.set_defaults(run=_label)


def _label(arguments: argparse.Namespace) -> int:
    bundles = [bundle_folder(text) for text in arguments.bundles or ["cascade"]]
    from lmk3d.label import serve

    serve(
        arguments.images,
        bundles,
        port=arguments.port,
        trust=arguments.trust,
        keep_untrusted=arguments.keep_untrusted,
    )
    return 0
