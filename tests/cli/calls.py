"""How each registered command is called: what it asks for, so that a new command is tested by being there."""

from pathlib import Path
from typing import Any

from typer.core import TyperArgument, TyperOption
from typer.main import get_command

from mesascope.cli import app

_group: Any = get_command(app)
COMMANDS: dict[str, Any] = _group.commands
"""Every command of the program by its name."""

FEW = {"--prompts": "80", "--readout-prompts": "100", "--analysis": "performance"}
"""The least that a command takes, where it has such an option."""

STANDS_FOR = {
    "CKPT": "checkpoint",
    "RUN": "checkpoint",
    "PATTERN": "checkpoint",
    "PRESET|FILE.yaml": "preset",
    "NAME": "analysis",
}
"""What an argument is, by what its help calls it; a new kind of argument is a line here."""


def with_option(flag: str) -> list[str]:
    """The commands that have an option."""
    return [name for name in COMMANDS if flag in options(name)]


def options(name: str) -> dict[str, TyperOption]:
    """A command's options by their flags."""
    found = [parameter for parameter in COMMANDS[name].params if isinstance(parameter, TyperOption)]
    return {flag: parameter for parameter in found for flag in parameter.opts}


def takes_a_checkpoint(name: str) -> bool:
    """Whether a command looks at a checkpoint, a run, or several."""
    return any(_stands_for(parameter) == "checkpoint" for parameter in _arguments(name))


def call(name: str, checkpoint: object, out: Path, preset: object = "lsa-1", few: bool = True) -> list[str]:
    """A command's line with all that it needs, on few prompts if it has a say in that."""
    given = {"checkpoint": [str(checkpoint)], "preset": [str(preset)], "analysis": ["performance"]}
    line = [name]
    for parameter in _arguments(name):
        line += given[_stands_for(parameter)] * (2 if parameter.nargs == -1 else 1)
    asked = options(name)
    line += ["--out", str(out)] if "--out" in asked and asked["--out"].required else []
    return line + [word for flag, value in FEW.items() if few and flag in asked for word in (flag, value)]


def _arguments(name: str) -> list[TyperArgument]:
    return [parameter for parameter in COMMANDS[name].params if isinstance(parameter, TyperArgument)]


def _stands_for(parameter: TyperArgument) -> str:
    """What an argument is, by what its help calls it."""
    return STANDS_FOR[str(parameter.metavar).split()[0].rstrip("…")]
