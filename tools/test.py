"""Everything a change must pass: format, lint, types, layers, spelling, and all tests with their coverage.

``python tools/test.py`` makes .venv when it is not there; further arguments go to pytest (``tools/test.py -k codecs``).
"""

from __future__ import annotations

import os
import sys

from environment import prepare, run, script


def main() -> int:
    """Run every check, all of them even when one fails; 0 when all passed."""
    prepare(("dev", "test"))
    checks = {
        "format": (script("ruff"), "format", "--check", "."),
        "lint": (script("ruff"), "check", "."),
        "types": (script("mypy"),),
        "layers": (script("lint-imports"), "--no-logo"),
        "spelling": (script("codespell"),),
    }
    failed = [name for name, command in checks.items() if run(*command)]
    print(f"Failed before the tests: {', '.join(failed)}" if failed else "Checks before the tests: passed", flush=True)
    # The tests' tensors are small: threads that wait for each other on a busy computer take many times as long as one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Last, so that its closing line is the last one; setup.cfg holds the coverage limit and "warnings as errors".
    tests = run(script("python"), "-m", "pytest", "-m", "slow or not slow", "--cov", *sys.argv[1:])
    return int(bool(failed or tests))


if __name__ == "__main__":
    sys.exit(main())
