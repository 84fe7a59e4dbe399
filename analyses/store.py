"""Results on disk, named by what they were made of, so that nothing is measured twice."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from mesascope import __version__
from mesascope.analyses.claim import finite
from mesascope.analyses.scope import Scope
from mesascope.models.files import write_atomically


class Store:
    """A folder of JSON files that many processes may read and write, or none at all.

    Args:
        folder: Where; made at the first write. None keeps nothing.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder

    def read(self, *names: str) -> Any | None:
        """What is stored under these names; None if nothing is, or it cannot be read."""
        if self.folder is None:
            return None
        try:
            return json.loads(self._path(names).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or cut short: measured again
            return None

    def write(self, content: dict[str, Any], *names: str) -> None:
        """Store, atomically; NaN and infinities become null.

        Raises:
            MesascopeError: The file cannot be written.
        """
        if self.folder is not None:
            write_atomically(self._path(names), json.dumps(finite(content), allow_nan=False) + "\n")

    def _path(self, names: tuple[str, ...]) -> Path:
        assert self.folder is not None and names
        return self.folder.joinpath(*names[:-1], f"{names[-1]}.json")


@torch.no_grad()
def fingerprint(scope: Scope) -> str:
    """A hash of a model's weights."""
    found = hashlib.sha256()
    for name, weight in scope.hooked.weights.items():
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        found.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def content_key(scope: Scope, weights: str, **settings: Any) -> str:
    """What determines the numbers, hashed: the model, its task, seed and device, the version and the settings.

    Args:
        scope: What is measured.
        weights: The `fingerprint` of its model.
        settings: Whatever else the numbers depend on, such as the analysis, its prompts and a schema; as JSON.
    """
    parts = {
        "version": __version__,
        "weights": weights,
        "model": scope.hooked.cfg.model_dump(mode="json"),
        "task": scope.task.model_dump(mode="json"),
        "seed": scope.seed,
        "device": scope.device.type,
        **settings,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]
