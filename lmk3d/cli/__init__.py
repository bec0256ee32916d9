"""The shell, ``lmk3d``, and its commands; nothing heavy is imported before a command needs it."""

from lmk3d.cli.shell import main, program

__all__ = ["main", "program"]
