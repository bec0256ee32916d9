"""``python -m lmk3d``: the shell, where no command of that name is on the path."""

from lmk3d.cli import program

__all__ = ()

if __name__ == "__main__":
    program()
