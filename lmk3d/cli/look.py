"""``lmk3d view`` and ``lmk3d report``: a scan with its points, and results, as pages for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmk3d.cli.options import positive
from lmk3d.cli.trust import trust_lines
from lmk3d.errors import InputError
from lmk3d.terminal import printable, say

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the shell."""
    view = subparsers.add_parser(
        "view",
        help="look at a scan with its landmarks in a browser",
        description="Show a scan in three planes and 3D with its landmarks, in a browser, offline.",
        epilog="Of two files of points, the one with confidences is the prediction, else the second.",
    )
    view.add_argument("scan", type=Path, metavar="SCAN", help="image, DICOM folder or zip")
    view.add_argument(
        "points", type=Path, nargs="+", metavar="POINTS", help="file of points; or two: the truth and a prediction"
    )
    view.add_argument("--output", type=Path, metavar="FILE", help="write the page as one .html file, serve nothing")
    view.add_argument("--port", type=int, default=0, metavar="N", help="serve on this port (default: a free one)")
    view.add_argument("--no-browser", action="store_true", help="print the address, open no browser")
    view.add_argument(
        "--series",
        metavar="WHICH",
        help="UID, number or description of the series",
    )
    view.add_argument("--spacing", type=positive, metavar="MM", help="pixel spacing, where the film does not say it")
    view.add_argument("--overwrite", action="store_true", help="replace FILE if it exists (default: refuse to)")
    view.set_defaults(run=_view)

    report = subparsers.add_parser(
        "report",
        help="results as one page",
        description="Write one HTML page of what lmk3d evaluate and lmk3d train left in their folders.",
    )
    report.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS", help="folder of an evaluation, of a training, or both"
    )
    report.add_argument("--output", type=Path, metavar="FILE", help="the page (default: report.html in RESULTS)")
    report.add_argument("--overwrite", action="store_true", help="replace the page if it exists (default: refuse to)")
    report.set_defaults(run=_report)


def _view(arguments: argparse.Namespace) -> int:
    if len(arguments.points) > 2:
        raise InputError(f"{len(arguments.points)} files of points are too many; give one, or truth and prediction")
    _check_output(arguments.output, overwrite=arguments.overwrite)
    from lmk3d.io import read_image, read_points
    from lmk3d.pages import PageServer, view_page

    volume = read_image(arguments.scan, series=arguments.series, spacing_mm=arguments.spacing)
    points = [read_points(path, image=lambda: volume) for path in arguments.points]
    say(*(line for own in points if own.assessment is not None for line in trust_lines(own)))
    page, notes = view_page(volume, points, title=printable(arguments.scan.resolve().name))
    for note in notes:
        say(note)
    if arguments.output is not None:
        _write(page, arguments.output)
        return 0
    with PageServer(page, port=arguments.port) as server:
        say(f"{arguments.scan} at {server.url}; Ctrl-C ends it")
        if not arguments.no_browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # how a look ends
            say("")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    path: Path = arguments.output or arguments.results[0] / "report.html"
    _check_output(path, overwrite=arguments.overwrite)
    from lmk3d.pages import write_report

    write_report(arguments.results, path)
    say(f"wrote {path}")
    return 0


def _check_output(path: Path | None, *, overwrite: bool) -> None:
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: is a web page; end its name in .html")
    from lmk3d.io import refuse_existing

    refuse_existing([path], overwrite=overwrite)


def _write(page: str, path: Path) -> None:
    from lmk3d.io import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    say(f"wrote {path}")
