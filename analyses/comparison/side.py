"""One of the checkpoints of a comparison: what it is, and what was found of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mesascope.analyses.claim import Claim
from mesascope.analyses.descriptions import describe_scope
from mesascope.analyses.findings import run_analyses
from mesascope.analyses.registry import Analysis
from mesascope.analyses.scope import PredictorModel, Scope
from mesascope.analyses.store import fingerprint


@dataclass(frozen=True)
class Side:
    """A checkpoint with its claims."""

    name: str
    about: Mapping[str, Any]
    """Its model and task, as `report.json` holds them."""
    claims: Mapping[str, Claim]
    """Every claim, by id."""
    warnings: tuple[str, ...]
    """What its analyses say a reader must know, each once."""
    left_out: Mapping[str, str]
    """What each analysis that does not apply would need."""
    failed: Mapping[str, str]
    """Why each analysis that applies could not run."""
    mistake: Exception | None = None
    """An error that is ours to mend; the analyses after it were not run, and are among the failed."""


def measure_side(
    scope: Scope,
    name: str,
    analyses: Mapping[str, Analysis],
    n_prompts: int,
    on_analysis: Callable[[str], None],
) -> Side:
    """Run the analyses that apply; one that cannot run is noted, and the others are kept."""
    findings = run_analyses(
        scope,
        analyses,
        n_prompts,
        lambda result: (result.claims, result.warnings),
        lambda analysis: on_analysis(f"{analysis} of {name}"),
    )
    claims = {claim.id: claim for claims, _ in findings.found.values() for claim in claims}
    warnings = dict.fromkeys(warning for _, warnings in findings.found.values() for warning in warnings)
    about = describe_scope(scope, name)
    return Side(name, about, claims, tuple(warnings), findings.left_out, findings.failed, findings.mistake)


def identity(scope: Scope) -> object:
    """What two scopes share if and only if they hold the same model: weights and architecture, or the predictor."""
    if isinstance(scope.model, PredictorModel):
        return id(scope.model.predictor)
    return fingerprint(scope), scope.hooked.cfg
