"""The one exception a user's mistake raises: its message is the whole explanation."""

__all__ = ["LatteError"]


class LatteError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was given, what is allowed, how to mend it. The command line prints it without
    a traceback and exits with code 2.
    """
