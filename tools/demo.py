"""See it work: installs the project into .venv when needed, then runs ``lmk3d demo`` (arguments are passed on)."""

from __future__ import annotations

import sys

from environment import prepare, run, script

if __name__ == "__main__":
    prepare()
    sys.exit(run(script("lmk3d"), "demo", *sys.argv[1:]))
