"""The rules of the house that ruff cannot check: what stands where, how long it is, which names are public.

``python tests/test_layout.py`` writes tests/public_names.txt anew after a public name was added or taken away.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lmk3d"
MODULES = sorted(PACKAGE.rglob("*.py"))
PUBLIC_NAMES = ROOT / "tests" / "public_names.txt"

TOP_LEVEL = {
    "setup.cfg", "setup.py", "lmk3d", "bundles", "tests", "docs", "tools", "README.rst", "LICENSE", "CHANGELOG.rst"
}  # fmt: skip
MOST_FILE_LINES = 500
MOST_BODY_LINES = 40
MOST_TOP_NAMES = 20  # more than these nobody guesses: the rest is imported from its room
EXCUSE = "# long: "  # behind a def, with the reason why it is better whole

# Modules that are tested through another one.
TESTED_ELSEWHERE: dict[str, str] = {
    "errors.py": "cli/test_shell.py",
    "level.py": "test_inference.py",
    "__main__.py": "cli/test_shell.py",
    "predictor.py": "test_prediction.py",
}


def module_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def exported(tree: ast.Module) -> list[str] | None:
    """The names in ``__all__``, or None where a module has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def defined(tree: ast.Module) -> set[str]:
    """Every name that a module binds at its top, also under ``if TYPE_CHECKING`` (a lazy room's list)."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, source: list[str]) -> int:
    """Lines of code of a function: without signature, docstring, blank lines and comments."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body:
        return 0
    lines = source[body[0].lineno - 1 : function.end_lineno]
    return sum(1 for line in lines if line.strip() and not line.strip().startswith("#"))


def rooms() -> list[str]:
    """One line for each room, a module or package right below the top: its public names."""
    lines = []
    for path in MODULES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if len(parts) == 1 or (len(parts) == 2 and parts[1] == "__init__"):
            room = ".".join(("lmk3d", *parts)).removesuffix(".__init__")
            lines += [f"{room}.{name}" for name in sorted(exported(ast.parse(path.read_text(encoding="utf-8"))) or [])]
    return sorted(lines)


def test_nothing_unexpected_stands_at_the_top():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("only a checkout tells files of the project from others")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    top = {Path(name).parts[0] for name in listed if name}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_module_lists_its_public_names_and_has_them(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = exported(tree)
    if path.name == "__init__.py" and not [node for node in tree.body if not isinstance(node, ast.Expr)]:
        return  # an empty room
    assert names is not None, "add __all__"
    assert len(names) == len(set(names))
    assert set(names) <= defined(tree)


def test_public_names_are_those_on_the_list():
    listed = PUBLIC_NAMES.read_text(encoding="utf-8").splitlines()
    assert rooms() == listed, "if this is meant, run python tests/test_layout.py"


def test_top_level_of_the_package_holds_lazy_names_alone():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imported = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert imported == ["__future__", "importlib", "typing"]
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["__getattr__", "__dir__"]
    assert len(exported(tree) or []) <= MOST_TOP_NAMES


def test_every_module_has_a_test_file_of_its_name():
    inner = [path.relative_to(PACKAGE) for path in MODULES if path.name != "__init__.py"]
    places = {path: TESTED_ELSEWHERE.get(path.as_posix(), path.with_name(f"test_{path.name}")) for path in inner}
    assert not [path.as_posix() for path, place in places.items() if not (ROOT / "tests" / place).is_file()]
    assert set(TESTED_ELSEWHERE) <= {path.as_posix() for path in inner}


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tools").glob("*.py"))], ids=module_id)
def test_files_and_functions_are_short(path):
    source = path.read_text(encoding="utf-8").splitlines()
    assert len(source) <= MOST_FILE_LINES
    long = {
        node.name: lines
        for node in ast.walk(ast.parse("\n".join(source)))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := body_lines(node, source)) > MOST_BODY_LINES
        and EXCUSE not in source[node.lineno - 1]
    }
    assert not long, f"split these, or say why not behind the def: {EXCUSE}reason"


def test_body_lines_count_code_alone():
    source = 'def f(a,\n      b):\n    """Doc.\n\n    More.\n    """\n    # why\n    x = a\n\n    return x\n'
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert body_lines(function, source.splitlines()) == 2


if __name__ == "__main__":
    PUBLIC_NAMES.write_text("\n".join(rooms()) + "\n", encoding="utf-8")
