"""The command line. Nothing heavy is imported before a command runs, so that `--help` is instant."""

from importlib import import_module

from mesascope.cli.app import app, main

COMMANDS = (
    "report",
    "identify",
    "probe",
    "similarity",
    "analyse",
    "inspect",
    "compare",
    "sweep",
    "zoo",
    "develop",
    "train",
    "presets",
    "selftest",
)
"""In the order of `--help`; each is a file that registers itself, and a new one is that file and a line here."""
for _name in COMMANDS:
    import_module(f"mesascope.cli.{_name}")

__all__ = ["COMMANDS", "app", "main"]
