"""Checkpoint formats; a new one is one file and one line in `registry.py`."""

from mesascope.models.formats.checkpoint import Checkpoint, Format
from mesascope.models.formats.registry import FORMATS, check_scale, load, zoo_names

__all__ = ["FORMATS", "Checkpoint", "Format", "check_scale", "load", "zoo_names"]
