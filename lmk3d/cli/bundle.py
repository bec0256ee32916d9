"""``lmk3d bundle``: several trainings as one bundle, a bundle for MONAI's model zoo, and what the zoo would say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.cli.options import bundle_folder
from lmk3d.errors import InputError
from lmk3d.terminal import counted, say

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group to the shell."""
    group = subparsers.add_parser(
        "bundle",
        help="join trainings, export a bundle for MONAI's model zoo, verify one",
        description="Join trainings; bundles for the model zoo.",
    )
    actions = group.add_subparsers(dest="action", metavar="WHAT", title="what to do", required=True)
    export = actions.add_parser(
        "export",
        help="write a bundle in the zoo's layout",
        description="Write a bundle in the layout of MONAI's model zoo: configs/, models/, docs/, LICENSE.",
    )
    export.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or the name of a shipped one")
    export.add_argument("target", type=Path, metavar="DIR", help="the new folder")
    export.add_argument("--torchscript", action="store_true", help="also write models/model.ts")
    export.add_argument(
        "--onnx", action="store_true", help="also write models/model.onnx and one file for each refiner"
    )
    export.set_defaults(run=_export)
    verify = actions.add_parser(
        "verify",
        help="check what the zoo will check",
        description="Check offline everything that the model zoo and MONAI check of a bundle; list all problems.",
    )
    verify.add_argument("folder", type=Path, metavar="DIR", help="the bundle, in the zoo's layout")
    verify.set_defaults(run=_verify)
    join = actions.add_parser(
        "join",
        help="make one bundle of several trainings",
        description="Make one bundle of several trainings of one plan; it says the mean of what each of them finds.",
        epilog="Train the same data set with --set seed=1, seed=2 and so on: their mean is nearer than each of them.",
    )
    join.add_argument("bundles", nargs="+", metavar="BUNDLE", help="two trained bundles or more")
    join.add_argument("--output", type=Path, required=True, metavar="DIR", help="the new folder")
    join.set_defaults(run=_join)


def _export(arguments: argparse.Namespace) -> int:
    source = bundle_folder(arguments.bundle)
    from lmk3d.zoo import export_bundle

    files = export_bundle(source, arguments.target, torchscript=arguments.torchscript, onnx=arguments.onnx)
    say(f"wrote {counted(len(files), 'file')} to {arguments.target}")
    if not (arguments.target / "models" / "model.pt").is_file():
        say("the bundle has no weights yet; the zoo takes none without: train it first")
    if not (arguments.target / "LICENSE").is_file():
        say("the bundle has no LICENSE; the zoo takes none without: write the terms of your weights into that file")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from lmk3d.zoo import verify_bundle

    problems = verify_bundle(arguments.folder)
    for problem in problems:
        say(f"problem     {problem}")
    if problems:
        count = counted(len(problems), "problem")
        raise InputError(f"{arguments.folder}: {count}, listed above; correct them and verify again")
    say("no problems")
    return 0


def _join(arguments: argparse.Namespace) -> int:
    folders = [bundle_folder(text) for text in arguments.bundles]
    from lmk3d.ensemble import join_bundles

    patients = join_bundles(folders, arguments.output)
    say(f"joined {len(folders)} bundles in {arguments.output}")
    if patients:
        say(f"radii from {counted(patients, 'validation patient')} of the single trainings")
    say(f"nothing assesses its predictions yet: run lmk3d calibrate {arguments.output} with their data set")
    return 0
