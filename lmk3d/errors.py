"""The one error a user's input can cause."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Wrong input: one line that names the file or argument, what is wrong and what to do; the shell exits with 2."""
