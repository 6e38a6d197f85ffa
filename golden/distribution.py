"""What pip knows this package by: the distribution's name differs from the name that is imported."""

from importlib import metadata

__all__ = ["NAME", "install_command", "version"]

NAME = "latte-attention"


def version() -> str:
    """Return the installed version."""
    return metadata.version(NAME)


def install_command(extra: str) -> str:
    """Return the command that adds an extra of pyproject.toml to what is installed."""
    return f"pip install '{NAME}[{extra}]'"
