"""``python -m lmk3d``: the shell, where no command of that name is on the path."""

import sys

from lmk3d.cli import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())
