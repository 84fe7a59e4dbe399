"""Several analyses of one scope: what was found, what does not apply and what could not run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch

from mesascope.analyses.claim import Result
from mesascope.analyses.registry import Analysis
from mesascope.analyses.scope import Scope
from mesascope.models import MesascopeError
from mesascope.models.devices import lacks_memory
from mesascope.models.errors import in_a_line

T = TypeVar("T")


@dataclass
class Findings(Generic[T]):
    """What the analyses of a scope came to."""

    found: dict[str, T] = field(default_factory=dict)
    """What was kept of each result."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What each analysis that does not apply would need."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why each analysis that applies could not run."""
    mistake: Exception | None = None
    """An error that is ours to mend; what was to run after it was not run, and is among the failed."""


def run_analyses(
    scope: Scope,
    analyses: Mapping[str, Analysis],
    n_prompts: int,
    keep: Callable[[Result], T],
    on_analysis: Callable[[str], None] = lambda name: None,
) -> Findings[T]:
    """Run the analyses that apply; one that cannot run costs itself alone.

    Refusals, memory that does not suffice and matrices that cannot be solved are taken down. Any other exception is a
    mistake of ours, which ends the run: it is handed back with what was found until then, to be raised by the caller.

    Args:
        scope: What to look at.
        analyses: By name, in their order.
        n_prompts: Prompts to fit readouts on.
        keep: What to keep of a result. It is called here because claims and figures may refuse too.
        on_analysis: Called with the name of each analysis as it starts.
    """
    findings: Findings[T] = Findings()
    for name, analysis in analyses.items():
        if findings.mistake is not None:
            findings.failed[name] = "it was not run, since an analysis before it stopped at a mistake of ours"
            continue
        on_analysis(name)
        try:
            if analysis.applies(scope):
                findings.found[name] = keep(analysis.run(scope, n_prompts))
            else:
                findings.left_out[name] = analysis.needs
        except Exception as error:
            reason = reason_of(error, analysis.fits_readouts)
            findings.mistake = error if reason is None else None
            findings.failed[name] = reason or f"a mistake of ours, {type(error).__name__}: {in_a_line(error)}"
    return findings


def reason_of(error: Exception, by_prompts: bool = True) -> str | None:
    """Why an analysis could not run, in one line with the remedy; None for a mistake of ours.

    Args:
        error: What was raised.
        by_prompts: Whether another number of prompts can help.
    """
    if isinstance(error, MesascopeError):
        return str(error)
    if lacks_memory(error):
        fewer = "fewer prompts (--prompts) or " if by_prompts else ""
        return f"out of memory ({in_a_line(error)}); use {fewer}another device (--device)"
    if isinstance(error, np.linalg.LinAlgError | torch.linalg.LinAlgError):
        more = "more prompts (--prompts) or " if by_prompts else ""
        return f"a matrix could not be solved ({in_a_line(error)}); use {more}another seed (--seed)"
    return None
