"""A readout of every variable at every layer and site of one model, fitted from streamed moments."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.causality.variables import Values, Variable, width
from mesascope.analyses.scope import Scope
from mesascope.models import FilterLearner, HookedRegressor, MesascopeError, Prompts
from mesascope.probes import Captured, LinearReadout, Moments, PatternInterchange, Site, capture

ALPHAS = (1e-12, 1e-8, 1e-5, 1e-3, 1e-2, 1e-1)
"""Relative penalties among which held-out prompts choose."""
N_FOLDS = 4
"""One batch in so many chooses the penalty, the others fit."""
N_OTHERS = 3
"""Readouts of other prompts' values, fitted beside each readout."""
AT_ONCE = 4
"""Batches whose features are multiplied together."""
CLEARLY = 0.02
"""How much less R² another variable may have to be held: one that is read worse is a shadow of what is read better."""
OWN = 0.02
"""Least share of a variable's variance of its own: below, moving it alone takes seven times its natural range."""

Key = tuple[str, Site, Variable]
"""Hook, site and variable."""


@dataclass(frozen=True)
class Look:
    """A model, the point whose prediction is traced, the sites to look at, and whose variables are meant."""

    scope: Scope
    point: int
    sites: Mapping[Site, tuple[Variable, ...]]
    learner: FilterLearner

    @property
    def model(self) -> HookedRegressor:
        """The model."""
        return self.scope.hooked

    @property
    def hooks(self) -> list[str]:
        """The residual stream behind each layer."""
        return [f"blocks.{layer}.hook_resid_post" for layer in range(self.model.cfg.n_layers)]

    @property
    def keys(self) -> list[Key]:
        """All that is looked for, site by site."""
        sites = self.sites.items()
        return [(hook, site, variable) for site, found in sites for variable in found for hook in self.hooks]

    def batches(self, n_prompts: int, stream: str, at_least: int) -> Iterator[Prompts]:
        """Prompts of a stream that end at the point: nothing of it sees what comes later."""
        for prompts in self.scope.batches(n_prompts, f"causality {stream}", at_least):
            end = self.point + 1
            yield Prompts(prompts.xs[:, :end], prompts.ys[:, :end], prompts.w)

    def values(self, prompts: Prompts) -> Values:
        """The learner's variables."""
        return Values.of(prompts, self.point, self.learner, self.scope.regression.linear)


@dataclass(frozen=True)
class SiteReadout:
    """The readout of one variable at one layer and site, and the moves that it defines."""

    readout: LinearReadout
    others: tuple[LinearReadout, ...]
    """Readouts of other prompts' values, with the same penalty."""
    mean: Float[Tensor, " d_variable"]
    """Of the variable, where it was fitted."""
    alone: PatternInterchange
    """Moves the variable and holds those that are read as well."""
    held: tuple[Variable, ...]
    together: PatternInterchange
    """Moves with it whatever is correlated with it."""
    mismatched: tuple[PatternInterchange, ...]
    """Moves what the others read."""

    @property
    def separate(self) -> bool:
        """Whether the variable varies enough beside what is held to be moved alone."""
        return self.alone.own >= OWN


def fit_sites(look: Look, n_prompts: int, alphas: Sequence[float] = ALPHAS) -> dict[Key, SiteReadout]:
    """Fit every variable at every layer and site; O(layers · d_features²) memory, whatever the number of prompts.

    Args:
        look: Where and what.
        n_prompts: Prompts to fit on, a quarter of which chooses the penalty.
        alphas: Relative penalties to choose from.

    Raises:
        MesascopeError: Some activations are NaN or infinite.
    """
    moments: dict[tuple[str, Site], Moments] = {}
    runs = capture(look.model, look.batches(n_prompts, "fit", N_FOLDS * AT_ONCE), look.hooks)
    for index, group in enumerate(_grouped(runs)):
        values = [look.values(run.prompts) for run in group]
        for site, variables in look.sites.items():
            wanted = torch.cat([_targets(of_run, variables) for of_run in values])
            for hook in look.hooks:
                features = torch.cat([site.read(run.activations[hook]) for run in group])
                if (hook, site) not in moments:
                    moments[hook, site] = Moments.zeros(features.shape[1], wanted.shape[1], (2,), features.device)
                moments[hook, site][int(index % N_FOLDS == 0)].update(features, wanted)
    for (hook, _), folds in moments.items():
        if not folds.products.isfinite().all():
            raise MesascopeError(
                f"{look.scope.source}: activations at {hook} grow beyond all numbers; attach with a task of smaller x"
            )
    n_dims = look.scope.task.n_dims
    return {
        (hook, site, variable): readout
        for (hook, site), folds in moments.items()
        for variable, readout in _fit(folds, look.sites[site], n_dims, alphas).items()
    }


def _grouped(runs: Iterator[Captured]) -> Iterator[list[Captured]]:
    """Several batches together: a product of all features costs a matrix of its own, however few its rows are."""
    while group := list(islice(runs, AT_ONCE)):
        yield group


def _targets(values: Values, variables: tuple[Variable, ...]) -> Float[Tensor, "batch d_all"]:
    """Each variable, and after it that of the prompts one, two, … places on."""
    columns = (values.columns(variable) for variable in variables)
    shifts = range(1 + N_OTHERS)
    return torch.cat([column.roll(shift, 0) for column in columns for shift in shifts], dim=1)


def _fit(
    folds: Moments, variables: tuple[Variable, ...], n_dims: int, alphas: Sequence[float]
) -> dict[Variable, SiteReadout]:
    """All variables of one layer and site."""
    whole = folds.sum(0)
    covariance, means = whole.S_hh / whole.n, whole.means[whole.d_h :]
    shares = _held_out(folds, alphas)
    fits: dict[float, LinearReadout] = {}
    blocks: dict[Variable, tuple[LinearReadout, ...]] = {}
    read: dict[Variable, float] = {}
    columns: dict[Variable, slice] = {}
    start = 0
    for variable in variables:
        size = width(variable, n_dims)
        columns[variable] = slice(start, start + size)
        read[variable], alpha = max((float(share[columns[variable]].mean()), alpha) for alpha, share in shares.items())
        if alpha not in fits:
            fits[alpha] = LinearReadout(alpha).fit_moments(whole)
        starts = range(start, start + (1 + N_OTHERS) * size, size)
        blocks[variable] = tuple(_of_columns(fits[alpha], slice(first, first + size)) for first in starts)
        start += (1 + N_OTHERS) * size
    found = {}
    for variable, (readout, *others) in blocks.items():
        # The prediction is no variable of the learner's to be told apart from those that it is made of.
        least = max(read[variable] - CLEARLY, CLEARLY)
        held = tuple(v for v in variables if v not in (variable, "y") and read[v] >= least and variable != "y")
        stays = torch.cat([blocks[v][0].coef_ for v in held], dim=1) if held else None
        found[variable] = SiteReadout(
            readout=readout,
            others=tuple(others),
            mean=means[columns[variable]],
            alone=PatternInterchange.of(readout.coef_, covariance, stays),
            held=held,
            together=PatternInterchange.of(readout.coef_, covariance),
            mismatched=tuple(PatternInterchange.of(other.coef_, covariance) for other in others),
        )
    return found


def _held_out(folds: Moments, alphas: Sequence[float]) -> dict[float, Float[Tensor, " d_all"]]:
    """R² on the fold that was not fitted, by penalty; penalties too small for the data are left out."""
    shares = {}
    for alpha in alphas:
        try:
            readout = LinearReadout(alpha).fit_moments(folds[0])
        except ValueError:  # singular
            continue
        total = folds[1].total.clamp(min=1e-300)
        shares[alpha] = 1 - folds[1].squared_error(readout.coef_, readout.intercept_) / total
    return shares


def _of_columns(readout: LinearReadout, columns: slice) -> LinearReadout:
    """A readout of some of its targets."""
    part = LinearReadout(readout.alpha)
    part.coef_, part.intercept_ = readout.coef_[:, columns], readout.intercept_[columns]
    return part
