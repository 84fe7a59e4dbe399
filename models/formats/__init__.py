"""Checkpoint formats and where checkpoints come from; a new one is one file and one line in `registry.py`."""

from mesascope.models.formats.checkpoint import Checkpoint, Format, with_scale
from mesascope.models.formats.registry import FORMATS, SOURCES, Address, check_scale, checkpoints_of, load
from mesascope.models.formats.zoo import zoo_names

__all__ = [
    "FORMATS",
    "SOURCES",
    "Address",
    "Checkpoint",
    "Format",
    "check_scale",
    "checkpoints_of",
    "load",
    "with_scale",
    "zoo_names",
]
