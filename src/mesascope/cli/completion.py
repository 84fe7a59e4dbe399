"""Completion in a shell: checkpoints of the zoo by name."""

import os
import re
from collections.abc import Mapping
from importlib.resources import files

_CUT = "_MESASCOPE_CUT"
"""The beginning of a word that bash takes for several, of which it wants only the last back."""


def complete_checkpoint(incomplete: str) -> list[str]:
    """Names of the zoo that go on so; where there is none, the shell offers files."""
    # Read from the folder: mesascope.models would import torch, and a user waits for the key.
    zoo = (files("mesascope") / "models" / "zoo").iterdir()
    names = sorted(f"zoo:{entry.name}" for entry in zoo if (entry / "config.json").is_file())
    cut = os.environ.get(_CUT, "")
    return [name.removeprefix(cut) for name in names if name.startswith(cut + incomplete)]


def whole_words(environment: Mapping[str, str]) -> dict[str, str]:
    """What a shell asks with, put together again where bash has split it: zoo:lsa-1 is three words to it.

    Empty for other shells, and where nothing is asked.
    """
    if environment.get("_MESASCOPE_COMPLETE") != "complete_bash":
        return {}
    words = environment["COMP_WORDS"].split("\n")[: int(environment["COMP_CWORD"]) + 1]
    joined = re.sub(r"\n:\n?", ":", "\n".join(words)).split("\n")
    # Where a user has told bash not to split at colons, it wants the whole word back.
    cut = joined[-1][: joined[-1].rfind(":") + 1] if joined[-1] != words[-1] else ""
    joined[-1] = joined[-1].removeprefix(cut)
    return {"COMP_WORDS": "\n".join(joined), "COMP_CWORD": str(len(joined) - 1), _CUT: cut}
