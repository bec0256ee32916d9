"""``lmk3d measure``: the group of the commands that measure with landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmk3d.cli import clinic

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group to the shell, and to it each module's commands."""
    group = subparsers.add_parser(
        "measure", help="measure distances and angles between points", description="Measure between landmarks."
    )
    measures = group.add_subparsers(dest="measure", metavar="WHAT", title="what to measure", required=True)
    for add in (clinic.add_measures,):
        add(measures)
