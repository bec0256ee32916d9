"""``lmk3d train``, ``calibrate``, ``tune`` and ``evaluate``: a network of one's own, and how good it is."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.cli.options import (
    add_coverage_argument,
    add_device_argument,
    add_trust_argument,
    bundle_folder,
    distances_mm,
    duration_s,
    override,
    search_range,
    use_device,
)
from lmk3d.errors import InputError
from lmk3d.terminal import say

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]

# As in lmk3d.configure.methods, which is too slow to import for --help; a test compares them.
_METHODS = (
    "cascade",
    "plain",
    "spatial_configuration",
    "appearance_context",
    "landmarknet",
    "heatmap_coordinate",
    "denseseg",
    "residual_heatmap",
)


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the shell."""
    train = subparsers.add_parser(
        "train",
        help="train a network on your own data",
        description="Look at the data, write a bundle for it, train it and evaluate it.",
        epilog="lmk3d check DATASET finds what is wrong with a data set before hours are spent on it.",
    )
    train.add_argument("dataset", type=Path, metavar="DATASET", help="the data set's JSON file")
    train.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the new bundle")
    train.add_argument("--method", metavar="NAME", help=f"{', '.join(_METHODS)} (default: cascade)")
    train.add_argument("--budget", type=duration_s, metavar="TIME", help="bound of the whole run: 30m, 2h, 1h30m")
    add_device_argument(train)
    train.add_argument(
        "--set",
        dest="overrides",
        type=override,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set an entry of the bundle's configuration; may be given several times",
    )
    add_trust_argument(train)
    train.set_defaults(run=_train)
    _add_evaluate(subparsers)
    _add_tune(subparsers)


def _add_evaluate(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = subparsers.add_parser(
        "evaluate",
        help="measure a bundle's errors on a data set",
        description="Predict the cases of a data set and compare them with its points.",
    )
    _add_bundle_and_dataset(evaluate, "the data set's JSON file")
    evaluate.add_argument("--section", default="validation", help="training, validation or test (default: validation)")
    evaluate.add_argument("--output", type=Path, metavar="DIR", help="folder for tables, curves and pictures")
    evaluate.add_argument(
        "--sdr", type=distances_mm, default=None, metavar="MM,...", help="distances of the success rates (0.5,1,2,3,4)"
    )
    add_coverage_argument(evaluate)
    evaluate.add_argument("--points", action="store_true", help="BUNDLE is a folder of points, predicted by whatever")
    evaluate.add_argument("--overwrite", action="store_true", help="replace an earlier report (default: refuse to)")
    evaluate.set_defaults(run=_evaluate)

    calibrate = subparsers.add_parser(
        "calibrate",
        help="learn from a data set how far a bundle's predictions can be trusted",
        description="Learn what the training and validation cases look like, to tell scans and points unlike theirs.",
        epilog="lmk3d train does this at its end; bundles of earlier versions and joined ones need it.",
    )
    _add_bundle_and_dataset(calibrate, "JSON of the data set that it was trained on")
    calibrate.add_argument("--overwrite", action="store_true", help="replace a calibration (default: refuse to)")
    calibrate.set_defaults(run=_calibrate)


def _add_bundle_and_dataset(parser: argparse.ArgumentParser, dataset: str) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or the name of a shipped one")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help=dataset)
    add_device_argument(parser)


def _add_tune(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "tune",
        help="search the weights of a bundle's training",
        description="Train a bundle again and again with other numbers in it; show which no other beats.",
        epilog="Example: lmk3d tune denseseg --search objective#first#uv=0.1:1:log --most mean_dice --output tuned/",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or the name of a shipped one")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the trainings and the table"
    )
    parser.add_argument(
        "--search",
        type=search_range,
        action="append",
        default=[],
        metavar="KEY=LOW:HIGH[:log]",
        help="an entry of train.json and its range; may be given several times",
    )
    parser.add_argument(
        "--least", action="append", default=[], metavar="METRIC", help="to be small (default: mean_error_mm)"
    )
    parser.add_argument("--most", action="append", default=[], metavar="METRIC", help="to be large, such as mean_dice")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="trainings (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the search (default: 0)")
    parser.add_argument(
        "--set",
        dest="overrides",
        type=override,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set an entry of the bundle's configuration, such as epochs=10; may be given several times",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier search (default: refuse to)")
    add_trust_argument(parser)
    parser.set_defaults(run=_tune)


def _tune(arguments: argparse.Namespace) -> int:
    if (arguments.output / "trials.csv").exists() and not arguments.overwrite:
        raise InputError(f"{arguments.output}: holds a search already; choose another folder, or --overwrite")
    bundle = bundle_folder(arguments.bundle)
    from lmk3d.configure.tune import Range, tune

    if not arguments.trust:
        from lmk3d.configure.trust import check_trusted

        check_trusted(bundle)
    tune(
        bundle,
        arguments.output,
        {key: Range(low, high, log) for key, low, high, log in arguments.search},
        least=arguments.least or ["mean_error_mm"],
        most=arguments.most,
        trials=arguments.trials,
        overrides=dict(arguments.overrides),
        seed=arguments.seed,
    )
    say(f"written to {arguments.output}: trials.csv, pareto.png")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    say(f"training on {arguments.dataset} into {arguments.output}")
    device = use_device(arguments.device)
    from lmk3d.api import train

    train(
        arguments.dataset,
        arguments.output,
        method=arguments.method,
        budget_s=None if arguments.budget is None else arguments.budget - (time.monotonic() - begun),
        device=device,
        overrides=dict(arguments.overrides),
        trust=arguments.trust,
    )
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    bundle = bundle_folder(arguments.bundle)
    if (models := bundle / "models").is_dir() and not os.access(models, os.W_OK):  # told before the work is done
        raise InputError(
            f"{models}: cannot be written to, where the calibration belongs; copy the bundle and give that"
        )
    device = use_device(arguments.device)
    from lmk3d.configure import calibrate_bundle

    calibrate_bundle(bundle, arguments.dataset, device=device, overwrite=arguments.overwrite)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from lmk3d.api import evaluate, refuse_report

    output: Path | None = arguments.output
    refuse_report(output, overwrite=arguments.overwrite)
    if arguments.points:
        from lmk3d.evaluation import SDR_MM, evaluate_points

        sdr_mm = arguments.sdr or SDR_MM
        evaluate_points(Path(arguments.bundle), arguments.dataset, output, section=arguments.section, sdr_mm=sdr_mm)
        return 0
    evaluate(
        arguments.bundle,
        arguments.dataset,
        output,
        section=arguments.section,
        sdr_mm=arguments.sdr,
        device=use_device(arguments.device),
        coverage=arguments.coverage,
        overwrite=arguments.overwrite,
    )
    return 0
