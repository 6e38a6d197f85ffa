"""The optional packages that whole models need, and the one sentence a user sees when they are absent."""

import importlib
import os

from latte.golden import distribution
from latte.golden.errors import LatteError

__all__ = ["require_models"]


def require_models() -> None:
    """Check that torch and transformers can be imported.

    Raises
    ------
    LatteError
        One of them is missing; the message names the extra that brings both.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # transformers' own bars would break into ours
    for package in ("torch", "transformers", "PIL"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise LatteError(f"whole models need the package {package!r}, which is not installed; "
                             f"install them all with: {distribution.install_command('models')}") from None
