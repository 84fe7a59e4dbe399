"""Files from elsewhere are hostile until parsed."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
import yaml

from mesascope.models.errors import MesascopeError


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        MesascopeError: It cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MesascopeError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few aliases of aliases can stand for more than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, or an error at an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        return super().compose_node(parent, index)


def read_pickle_safely(path: Path) -> Any:
    """A `.pt` file's tensors and plain containers; nothing in it is executed.

    Raises:
        MesascopeError: The file is truncated, is no torch file, or wants to run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MesascopeError(
            f"{path} was refused: it is no plain tensor file, and loading it could run code ({_reason(error)}); "
            "save a bare state_dict instead"
        ) from error
    except Exception as error:  # whatever torch's reader stumbles on in a broken file, struct.error and IndexError too
        raise MesascopeError(
            f"{path} cannot be read: truncated or no torch file ({_reason(error)}); copy it again"
        ) from error


def _reason(error: Exception) -> str:
    """PyTorch's own reason in one sentence, without its advice."""
    text = " ".join(str(error).split())
    refused = re.search(r"[Uu]nsupported .*?(GLOBAL [\w.]+|operand \d+|class [\w.]+)", text)
    return refused.group(0) if refused else text.split(". ")[0][:160] or type(error).__name__
