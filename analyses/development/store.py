"""What was measured of each checkpoint, kept on disk so that nothing is measured twice."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mesascope import __version__
from mesascope.analyses.claim import Claim, finite
from mesascope.analyses.scope import Scope
from mesascope.models.training.checkpoints import write_atomically

SCHEMA = 1
"""To be raised when what is stored changes, or the same claims come to mean something else."""


@dataclass(frozen=True)
class Measured:
    """What an analysis said of one checkpoint."""

    claims: tuple[Claim, ...]
    """The quantities that are followed."""
    applies: bool = True
    error: str = ""
    """Why it could not be measured."""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Measured":
        """The inverse of `dataclasses.asdict`."""
        claims = (Claim(**claim | {"ci": tuple(claim["ci"])}) for claim in content["claims"])
        return cls(tuple(claims), content["applies"], content["error"])


class Store:
    """A folder with one small file for each checkpoint and analysis, or none at all.

    Files are named by content: the weights, the model's config, the task, the analysis with its settings, and the
    version. So a run that has trained on costs its new checkpoints, and one that was trained anew is measured anew.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder

    def key(self, scope: Scope, fingerprint: str, name: str, settings: dict[str, Any]) -> str:
        """What determines the numbers, hashed."""
        parts = {
            "schema": SCHEMA,
            "version": __version__,
            "weights": fingerprint,
            "model": scope.hooked.cfg.model_dump(mode="json"),
            "task": scope.task.model_dump(mode="json"),
            "seed": scope.seed,
            "device": scope.device.type,
            "analysis": name,
            "settings": settings,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]

    def read(self, name: str, key: str) -> Measured | None:
        """What is stored; None if nothing is, or what is there cannot be read."""
        if self.folder is None:
            return None
        try:
            return Measured.from_json(json.loads(self._path(name, key).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):  # cut short or edited: measured again
            return None

    def write(self, name: str, key: str, measured: Measured) -> None:
        """Store, atomically.

        Raises:
            MesascopeError: The file cannot be written.
        """
        if self.folder is not None:
            content = json.dumps(finite(asdict(measured)), allow_nan=False)
            write_atomically(self._path(name, key), content + "\n")

    def _path(self, name: str, key: str) -> Path:
        assert self.folder is not None
        return self.folder / "measured" / name / f"{key}.json"


@torch.no_grad()
def fingerprint(scope: Scope) -> str:
    """A hash of a model's weights."""
    found = hashlib.sha256()
    for name, weight in scope.hooked.weights.items():
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        found.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
