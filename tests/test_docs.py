"""The pages as they are: what the tutorial says is done, what docs/conf.py builds is built, without a warning."""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmk3d.landmarks import VERDICTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.rst"))

# The tutorial at a size that takes seconds: smaller and fewer phantoms, one short epoch in place of minutes.
QUICK = [
    ("range(30)", "range(5)"),
    ("spacing_mm=2.0", "spacing_mm=8.0"),
    ("--budget 12m", "--set epochs=1 --device cpu"),
]


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, name and text of each ``code-block`` of a page, in order."""
    block = re.compile(r"^\.\. code-block:: (\w+)\n((?:   :\w+: .*\n)*)\n((?:   .*\n|\n)+)", re.MULTILINE)
    return [
        (language, options.partition(":name: ")[2].strip(), re.sub(r"(?m)^   ", "", text))
        for language, options, text in block.findall(page.read_text(encoding="utf-8"))
    ]


def test_code_blocks_of_a_page_are_found(tmp_path):
    page = tmp_path / "page.rst"
    page.write_text(
        "A\n\n.. code-block:: python\n   :name: a.py\n\n   if x:\n\n       y\n\nB\n\n.. code-block:: sh\n\n   ls\n",
        encoding="utf-8",
    )
    assert blocks(page) == [("python", "a.py", "if x:\n\n    y\n\n"), ("sh", "", "ls\n")]


@pytest.mark.slow
def test_everything_in_the_tutorial_runs(tmp_path):
    script, changes = ["set -eu"], 0
    for language, name, text in blocks(DOCS / "tutorial.rst"):
        short = text
        for before, after in QUICK:
            changes += short.count(before)
            short = short.replace(before, after)
        if language == "python":
            (tmp_path / name).write_text(short, encoding="utf-8")
        else:  # exit code 3 says that not all points are trusted, which the smaller training may well come to
            script.append(re.sub(r"(?m)^lmk3d predict .*$", r"\g<0> || [ $? -eq 3 ]", short))
    assert sum(block.count("-eq 3") for block in script) == 2
    assert changes == 4  # or the tutorial was changed, and would take twenty minutes here
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={**os.environ, "PATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no problems" in done.stdout
    assert json.loads((tmp_path / "detector" / "train.json").read_text(encoding="utf-8"))["names"]
    for file in ("detector/evaluation/index.html", "detector/evaluation/summary.csv", "found/patient.preview.png"):
        assert (tmp_path / file).stat().st_size > 0
    found = sorted(path.name for path in (tmp_path / "found").iterdir() if "preview" not in path.name)
    assert found == ["patient.csv", "patient.fcsv", "patient.manifest.json", "patient.mrk.json"]
    manifest = json.loads((tmp_path / "found" / "patient.manifest.json").read_text(encoding="utf-8"))
    assert manifest["assessment"]["verdict"] in VERDICTS  # assessed, by a calibration that the training has made


@pytest.mark.slow
def test_everything_on_the_page_about_python_runs(tiny_dataset, tmp_path, monkeypatch):
    """As one script, on a phantom and a tiny data set, with one epoch in place of two hours."""
    for library in ("nibabel", "SimpleITK"):
        pytest.importorskip(library)
    from lmk3d.io import write_image
    from lmk3d.synthetic import cta_phantom

    shutil.copytree(tiny_dataset.parent, tmp_path, dirs_exist_ok=True)
    write_image(cta_phantom(0, spacing_mm=4.0).volume, tmp_path / "scan.nii.gz")
    script = "\n".join(text for language, _, text in blocks(DOCS / "python.rst") if language == "python")
    long, short = "budget_s=2 * 3600", 'overrides={"epochs": 1}'
    assert script.count(long) == 1
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(script.replace(long, short), "python.rst", "exec"), names)  # the page is ours
    assert (tmp_path / "scan.mrk.json").is_file()
    assert (tmp_path / "report" / "index.html").is_file()
    assert np.shape(names["points_mm"]) == (3, 3)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if ">>>" in page.read_text(encoding="utf-8")], ids=lambda page: page.name
)
def test_examples_of_a_page_give_what_it_says(page):
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried
    assert not failed


@pytest.mark.slow
def test_pages_are_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="Sphinx is not installed (extra docs)")
    pytest.importorskip("pydata_sphinx_theme", reason="the theme is not installed (extra docs)")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", DOCS, tmp_path / "html"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = {page: (tmp_path / "html" / f"{page.stem}.html").read_text(encoding="utf-8") for page in PAGES}
    linked = {page.name: set(re.findall(r'href="([\w/-]+\.rst)', text)) for page, text in built.items()}
    assert not {page: left for page, left in linked.items() if left}, "links to pages that were not built"
    rooms = (ROOT / "tests" / "public_names.txt").read_text(encoding="utf-8").split()
    reference = " ".join(path.read_text(encoding="utf-8") for path in (tmp_path / "html" / "api").glob("*.html"))
    for name in rooms:
        if name.startswith("lmk3d.cli."):
            continue  # cli.rst
        room, _, last = name.rpartition(".")
        assert re.search(rf'id="{room}(\.\w+)?\.{last}"', reference), f"{name} is not described"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_plain_restructured_text_for_those_who_read_it_in_the_repository(page):
    docutils = pytest.importorskip("docutils.core", reason="docutils is not installed (extra docs)")
    from docutils.parsers.rst import Directive, directives

    class Toctree(Directive):
        """GitHub shows nothing in its place."""

        has_content = True
        option_spec = dict.fromkeys(("hidden", "maxdepth", "glob"), directives.unchanged)

        def run(self):
            return []

    directives.register_directive("toctree", Toctree)
    settings = {"report_level": 2, "halt_level": 2, "input_encoding": "utf-8"}
    text = page.read_text(encoding="utf-8")
    docutils.publish_string(text, source_path=str(page), writer="null", settings_overrides=settings)
    for link in re.findall(r"<([\w/.-]+\.rst)>`__", text):
        assert (page.parent / link).exists() or link == "api/index.rst", f"{link} is no page"
