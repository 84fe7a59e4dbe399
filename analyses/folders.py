"""Folders that results go to."""

import os
import tempfile
from pathlib import Path

from mesascope.models import MesascopeError


def check_writable(folder: Path) -> None:
    """Make a folder and try it, before minutes are spent.

    Raises:
        MesascopeError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MesascopeError(
            f"cannot write to {folder}: {error.strerror or os.strerror(error.errno or 0)}; choose another folder"
        ) from error
