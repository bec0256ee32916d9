"""``lmk3d measure``: the group of the commands that measure with landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmk3d.cli import clinic

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group and its commands to the shell."""
    group = subparsers.add_parser(
        "measure",
        help="measure with landmarks",
        description="Measure with landmarks: angles, distances and classes from files of points.",
    )
    measures = group.add_subparsers(dest="measure", metavar="WHAT", title="measures", required=True)
    clinic.add_measures(measures)
