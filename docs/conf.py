"""How Sphinx builds these pages: ``python -m sphinx -W -b html docs OUT``."""

from __future__ import annotations

import ast
import logging
import re
from importlib import import_module
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "lmk3d"
API = DOCS / "api"
# The shell is described in cli.rst, and is no library; the names at the top are those of other rooms.
NOT_API = {"cli", "bundles", "__init__"}

project = "lmk3d"
copyright = "the lmk3d developers"
version = release = version_of("lmk3d")
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
# A toctree may name pages that are not there yet; suppress_warnings does not know this one.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda line: vars(line).get("subtype") != "empty_glob")
exclude_patterns = ["_build"]
highlight_language = "none"  # most of what is shown is typed into a terminal

html_theme = "pydata_sphinx_theme"
html_title = "lmk3d"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["lmk3d.css"]
html_theme_options = {
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
    "pygments_light_style": "a11y-light",
    "pygments_dark_style": "a11y-dark",
}
html_sidebars = {"index": [], "tutorial": []}  # nothing to navigate there

autodoc_default_options = {"no-value": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_custom_sections = ["Source", "Convention"]
napoleon_use_rtype = False


def rooms() -> Iterator[str]:
    """Names of the modules that have public names; of a package that has none of its own, those of its modules."""
    for path in sorted(PACKAGE.iterdir()):
        if path.is_dir() and path.name not in NOT_API and (path / "__init__.py").is_file():
            if public(path / "__init__.py"):
                yield f"lmk3d.{path.name}"
            else:
                yield from (f"lmk3d.{path.name}.{inner.stem}" for inner in sorted(path.glob("*.py")) if public(inner))
        elif path.suffix == ".py" and path.stem not in NOT_API and public(path):
            yield f"lmk3d.{path.stem}"


def public(path: Path) -> list[str]:
    """The names in ``__all__`` of a file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and "__all__" in [getattr(target, "id", "") for target in node.targets]:
            return list(ast.literal_eval(node.value))
    return []


def page_of(room: str) -> str:
    """The page of a room: its functions and classes, then its values, described in the file that assigns them."""
    module = import_module(room)
    files = [Path(str(module.__file__))]
    if files[0].name == "__init__.py":
        files += sorted(files[0].parent.glob("*.py"))
    values = {}
    for file in files:
        inner = room if file == files[0] else f"{room}.{file.stem}"
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            values |= {one.id: inner for one in targets if isinstance(one, ast.Name) and one.id in module.__all__}
    lines = [room, "=" * len(room), "", f".. automodule:: {room}", "   :members:", "   :imported-members:"]
    lines += [f"   :exclude-members: {', '.join(values)}"] if values else []
    return "\n".join([*lines, "", *(f".. autodata:: {inner}.{name}" for name, inner in values.items())]) + "\n"


def write_api(_app: Sphinx) -> None:
    """A page for each room, and the page that lists them; written anew where they have changed."""
    API.mkdir(exist_ok=True)
    lines = ["Python", "======", "", "Every public name, with shapes, units and frames.", ""]
    lines += [".. list-table::", "   :widths: 30 70", ""]
    pages = {}
    for room in rooms():
        module = import_module(room)
        for name in module.__all__:  # those that a room imports when they are first used
            setattr(module, name, getattr(module, name))
        pages[room] = page_of(room)
        what = (module.__doc__ or "").strip().splitlines()[0].split(": ")[0].rstrip(".")
        lines += [f"   * - :doc:`{room} <{room}>`", f"     - {what}"]
    lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {room}" for room in pages)]
    pages["index"] = "\n".join(lines) + "\n"
    for old in {path.stem for path in API.glob("*.rst")} - pages.keys():
        (API / f"{old}.rst").unlink()
    for name, text in pages.items():
        page = API / f"{name}.rst"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def link_pages(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Links to page.rst, as GitHub follows them, become links to the page that was built."""
    for node in doctree.findall(nodes.reference):
        match = re.fullmatch(r"([\w./-]+)\.rst(#.*)?", node.get("refuri", ""))
        if match and match[1] in app.env.found_docs:
            node["refuri"] = app.builder.get_relative_uri(docname, match[1]) + (match[2] or "")
            node["internal"] = True
            if node.astext() == match[0]:
                node.children = [nodes.Text(app.env.titles[match[1]].astext())]


def setup(app: Sphinx) -> None:
    """Connect the two steps above."""
    app.connect("builder-inited", write_api)
    app.connect("doctree-resolved", link_pages)
