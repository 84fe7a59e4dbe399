"""Is what is read out also used? Interchange it between prompts, and see whether the prediction follows."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mesascope.analyses.causality.cause import Cause, conclude
from mesascope.analyses.causality.claims import cause_claim, effect_claims, model_claim
from mesascope.analyses.causality.effects import Effects, measure_effects
from mesascope.analyses.causality.places import sites_of, traced_point
from mesascope.analyses.causality.site_readouts import Key, Look, fit_sites
from mesascope.analyses.causality.tracing import N_BLOCKS, Tally, trace
from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.scope import Scope
from mesascope.models import FilterLearner, LeastSquares, MesascopeError, Ridge
from mesascope.models.tasks import Regression

N_PROMPTS, MIN_PROMPTS = 2_000, 8 * N_BLOCKS
"""Prompts to fit readouts on unless told otherwise, and the fewest."""
N_TWIN_PAIRS, N_TWIN_BATCHES = 4 * N_BLOCKS, 2
"""Pairs for each untrained twin, and in how many batches at the least: a twin has no interval of its own."""
N_ABLATED = 500
"""Prompts for each ablation of a component: there are many."""


@dataclass(frozen=True)
class Causes(Result):
    """Every variable at every layer and site."""

    name: ClassVar[str] = "causality"
    title: ClassVar[str] = "Causality"
    question: ClassVar[str] = "Is what can be read off a layer also used?"
    evidence = "causes"

    causes: tuple[Cause, ...]
    learner: str
    """Whose variables they are."""
    point: int
    """How many points come before the query whose prediction is traced."""
    effects: Effects | None
    """Of heads and MLPs; None of an LSTM, which has neither."""
    n_twins: int
    """Untrained twins that were run."""
    n_lost: int
    """Those of them whose activations left all numbers."""
    n_prompts: int
    n_pairs: int
    seed: int

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The model, then each variable at each layer."""
        components = () if self.effects is None else effect_claims(self.effects)
        return (model_claim(self.causes), *components, *map(cause_claim, self.causes))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out."""
        found = []
        if self.n_lost:
            found.append(
                f"{self.n_lost} of {self.n_twins} untrained twins leave all numbers, as deep linear attention with "
                "random weights does; they are no null."
            )
        if self.effects is None:
            found.append("An LSTM has neither heads nor MLPs: direct effects and what layers depend on are left out.")
        return tuple(found)

    def of(self, variable: str, site: str | None = None) -> tuple[Cause, ...]:
        """One variable, layer by layer; by default at the tokens other than the query, of y at the query."""
        wide = site or ("query" if variable == "y" else next(c.site for c in self.causes if c.site != "query"))
        return tuple(cause for cause in self.causes if (cause.variable, cause.site) == (variable, wide))

    def figures(self) -> tuple[Figure, ...]:
        """Slopes by layer with their nulls, pairs of prompts, components, and what depends on which layer."""
        from mesascope.analyses.causality.figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every slope of every intervention."""
        return {
            "seed": self.seed,
            "point": self.point,
            "learner": self.learner,
            "n_prompts": self.n_prompts,
            "n_pairs": self.n_pairs,
            "n_twins": self.n_twins,
            "n_lost": self.n_lost,
            "effects": None if self.effects is None else self.effects.data(),
            "causes": [cause.data() for cause in self.causes],
        }


def trace_causes(
    scope: Scope,
    seed: int | None = None,
    n_prompts: int = N_PROMPTS,
    n_pairs: int = 400,
    learner: FilterLearner | None = None,
) -> Causes:
    """Interchange what readouts decode between unrelated prompts, and compare with what a learner would then predict.

    A learner predicts x·w with w = m(S) b. Its variables w, b and S, and the prediction y, are read off every layer by
    an affine map, at the query's token and at all tokens that the query sees (or the scratch tokens). On a base prompt
    B one variable is set to what is read on an independent source prompt A, along the pattern with which activations
    vary with it, while the other variables' readings stay. The change of the prediction is regressed on what the
    learner predicts with A's value and on minus what it predicts with B's own; the first slope is 1 where the variable
    is fully used, and 0 where the prediction merely breaks.

    Args:
        scope: A hooked model on a regression task; on one that is not linear in x only y is traced.
        seed: Seed of the prompts; default the scope's.
        n_prompts: Prompts to fit the readouts on, those of untrained twins too: with many features, R² grows with them.
        n_pairs: Pairs of base and source prompts, others than those.
        learner: Whose variables are meant, on a linear task; default least squares, and under noise ridge with the
            penalty noise variance over the variance of w's entries, which is Bayes-optimal for linear regression.

    Raises:
        MesascopeError: The model is a bare predictor, its activations leave all numbers, the task is discrete, there
            are fewer than 160 prompts or 40 pairs, w is determined at no point that the model reads, or a learner is
            given though the task is not linear in x.

    Source: Geiger et al. (2021) for interchange interventions; departures: real-valued variables, a slope in place of
    an accuracy, and two regressors, since against x·(w_A − w_B) alone a destroyed prediction has a slope of 1/2.
    """
    if n_pairs < 2 * N_BLOCKS or n_prompts < MIN_PROMPTS:
        raise MesascopeError(
            f"n_prompts={n_prompts}, n_pairs={n_pairs}: readouts need at least {MIN_PROMPTS} prompts, and intervals "
            f"{2 * N_BLOCKS} pairs"
        )
    scope = scope.reseeded(seed)
    if learner is not None and not scope.regression.linear:
        raise MesascopeError(
            f"learner={learner.label}: {scope.task.name} is not linear in x, and what is traced there are the labels "
            "alone; leave learner= out"
        )
    chosen = learner or _best_learner(scope.regression)
    return scope.once(("causality", n_prompts, n_pairs, chosen), lambda: _trace(scope, n_prompts, n_pairs, chosen))


def _best_learner(task: Regression) -> FilterLearner:
    """Least squares a few points after w is determined is far from anything that a model would learn under noise."""
    noise = task.noise_std**2
    if noise == 0 or not task.linear:
        return LeastSquares()
    prior = (task.null_loss - noise) / (task.n_dims * task.inputs.mean_square)
    return Ridge(noise / prior)


def _trace(scope: Scope, n_prompts: int, n_pairs: int, learner: FilterLearner) -> Causes:
    model = scope.hooked
    point = traced_point(scope)
    sites = sites_of(model, point, scope.regression.linear)
    look = Look(scope, point, sites, learner)
    readouts = fit_sites(look, n_prompts)
    tallies = trace(look, readouts, n_pairs)
    runs = [_trace_twin(replace(look, scope=twin), n_prompts, min(n_pairs, N_TWIN_PAIRS)) for twin in scope.untrained]
    twins = [run for run in runs if run is not None]
    effects = measure_effects(look, min(n_prompts, N_ABLATED)) if model.cfg.block == "transformer" else None
    causes = tuple(conclude(key, readouts[key], tallies[key], [twin[key] for twin in twins]) for key in look.keys)
    whose = learner.label if scope.regression.linear else "the labels"
    return Causes(causes, whose, point, effects, len(runs), len(runs) - len(twins), n_prompts, n_pairs, scope.seed)


def _trace_twin(look: Look, n_prompts: int, n_pairs: int) -> dict[Key, Tally] | None:
    """The interchanges alone; None of a twin whose activations leave all numbers, as in deep linear attention."""
    try:
        readouts = fit_sites(look, n_prompts)
    except MesascopeError:
        return None
    return trace(look, readouts, n_pairs, nulls=False, n_batches=N_TWIN_BATCHES)
