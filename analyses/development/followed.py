"""What is followed through training; a new analysis is one entry of `FOLLOWED`."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mesascope.analyses.claim import Claim, Result
from mesascope.analyses.induction import Induction, find_induction, holds_heads
from mesascope.analyses.layers import layer_label
from mesascope.analyses.matching import Matching, match_weights
from mesascope.analyses.performance import Performance, measure_performance
from mesascope.analyses.readouts import Readouts, fit_readouts
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.scope import Scope
from mesascope.analyses.selection import ALL, as_names, check_names
from mesascope.analyses.spectral import SpectralResponse, measure_response


@dataclass(frozen=True)
class Followed:
    """An analysis at every checkpoint, and which of its claims are quantities to follow.

    What was measured is kept by the analysis' name: one that comes to measure something else wants another.
    """

    run: Callable[[Scope, int], Result]
    """Scope and number of prompts in, result out; called once for each checkpoint, so better cheap."""
    unit: str = ""
    """What its claims' numbers are, to stand at an axis."""
    phrase: str = ""
    """A quantity in words, with {} where its id goes on, such as "R² of {}"."""
    ids: str = ".*"
    """Which claims: a regular expression for the part of the id after the analysis' name."""
    applies: Callable[[Scope], bool] = lambda scope: True
    """Whether the question makes sense for a scope."""
    needs: str = ""
    """What it asks of a scope."""

    def quantities(self, claims: Sequence[Claim]) -> list[Claim]:
        """The claims with a finite number and interval that are followed."""
        ids = re.compile(self.ids, re.DOTALL)
        numbered = (c for c in claims if c.value is not None and c.ci is not None and _all_finite(c.value, *c.ci))
        return [claim for claim in numbered if ids.fullmatch(claim.id.partition(".")[2])]

    def label(self, claim_id: str) -> str:
        """A quantity in words, such as "R² of y in layer 2"."""
        analysis, _, detail = claim_id.partition(".")
        target, _, hook = detail.partition(".")
        if re.match(r"blocks\.\d+\.|ln_final\.", hook):
            detail = f"{target} in {layer_label(hook)}"
        words = re.sub(r"layer(?=\d)", "layer ", detail.removeprefix("exponent."))
        words = words.replace("finalnorm", "final norm")
        return self.phrase.format(words) if self.phrase else f"{analysis}: {words}"


def _all_finite(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))


FOLLOWED: dict[str, Followed] = {
    Performance.name: Followed(
        lambda scope, n: measure_performance(scope, n), "excess loss", "excess loss on {}", r"(?!w_std$).*"
    ),
    Induction.name: Followed(
        lambda scope, n: find_induction(scope, n_prompts=n, ablate=False, weigh=False),
        "score",
        "{} score",
        "copy|query",
        holds_heads,
        "a model with heads",
    ),
    Readouts.name: Followed(lambda scope, n: fit_readouts(scope, n_prompts=2 * n, n_scored=n), "R²", "R² of {}"),
    SpectralResponse.name: Followed(
        lambda scope, n: measure_response(scope, n_prompts=n, n_fit=2 * n), "exponent p", "p of {}", r"exponent\..*"
    ),
    Matching.name: Followed(lambda scope, n: match_weights(scope), "distance", "distance of {}", "layer .*"),
}
"""What is followed if nothing else is asked for, in the order of figures and claims; the loss first."""


def choose(names: Sequence[str] | str | None) -> dict[str, Followed]:
    """Analyses by name; those of the report that are not among `FOLLOWED` run as they do there.

    Args:
        names: Which; one may come as it is. `"all"` among them means every one, None or none of them `FOLLOWED`.

    Raises:
        MesascopeError: There is no such analysis.
    """
    known, chosen = list(dict.fromkeys([*FOLLOWED, *ANALYSES])), as_names(names)
    check_names(chosen, [*known, ALL])
    return {name: _with_needs(name) for name in (known if ALL in chosen else chosen or FOLLOWED)}


def _with_needs(name: str) -> Followed:
    analysis, followed = ANALYSES.get(name), FOLLOWED.get(name)
    if analysis is None:
        assert followed is not None
        return followed
    chosen = followed or Followed(analysis.run)
    return replace(chosen, applies=analysis.applies, needs=analysis.needs)
