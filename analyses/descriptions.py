"""What was looked at, in the words of `report.json`."""

from typing import Any

from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor


def describe_scope(scope: Scope, name: str | None = None) -> dict[str, Any]:
    """A checkpoint by its name (default its source), its model and the task it was looked at with."""
    task = scope.task.model_dump(mode="json")
    return {"checkpoint": name or scope.source, "model": describe_model(scope), "task": task}


def device_of(scope: Scope) -> str:
    """Where the model runs; a bare predictor gets its prompts on the CPU."""
    return str(next(scope.model.parameters()).device) if isinstance(scope.model, HookedRegressor) else "cpu"


def describe_model(scope: Scope) -> dict[str, Any]:
    """Architecture and origin, as far as they are known."""
    described: dict[str, Any] = {"kind": type(scope.model).__name__}
    if isinstance(scope.model, HookedRegressor):
        described |= {
            "config": scope.model.cfg.model_dump(mode="json"),
            "n_parameters": sum(parameter.numel() for parameter in scope.model.parameters()),
        }
    if scope.checkpoint is not None:
        described |= {
            "format": scope.checkpoint.format,
            "seed": scope.checkpoint.seed,
            "about": scope.checkpoint.about,
            "command": scope.checkpoint.command,
            "w_std_known": scope.checkpoint.w_std_known,
        }
    return described
