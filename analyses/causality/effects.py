"""The direct effect of every head and MLP on the prediction, the loss without it, and what layers depend on which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.causality.site_readouts import Look, fit_sites
from mesascope.analyses.causality.tracing import N_BLOCKS
from mesascope.analyses.causality.variables import Variable
from mesascope.analyses.claim import as_json
from mesascope.probes import (
    Component,
    Estimate,
    Site,
    capture,
    component_means,
    components_of,
    direct_effects,
    jackknife_ratio,
    mean_ablation,
)

ALPHAS = (1e-9, 1e-6, 1e-3, 1e-1)
CONSTANT = 1e-10
"""Least variance of a prediction, in units of the mean squares of it and of y: less is rounding."""


@dataclass(frozen=True)
class Effect:
    """One component's part in the prediction."""

    label: str
    layer: int
    """From 1 on; 0 is the read-in."""
    head: int | None
    """From 0 on; None of an MLP and the read-in."""
    share: Estimate | None
    """Of the prediction's variance, Cov(part, ŷ)/Var(ŷ); all parts together are 1. None where it does not vary."""
    slope: Estimate
    """Of its direct effect on y."""
    loss: Estimate | None
    """Squared error with it held at its mean, over E y²; None of the read-in."""

    def data(self) -> dict[str, Any]:
        """All of it."""
        return {
            "label": self.label,
            "share": as_json(self.share),
            "slope": as_json(self.slope),
            "loss": as_json(self.loss),
        }


@dataclass(frozen=True)
class Dependence:
    """How well one variable is read behind each layer when one layer is held at its mean."""

    variable: Variable
    site: str
    intact: tuple[Estimate, ...]
    """R² by layer."""
    ablated: tuple[tuple[Estimate, ...], ...]
    """The same, a row for each layer that is held; of readouts fitted anew."""

    def data(self) -> dict[str, Any]:
        """All of it."""
        rows = [[as_json(r2) for r2 in row] for row in self.ablated]
        return {
            "variable": self.variable,
            "site": self.site,
            "intact": [as_json(r2) for r2 in self.intact],
            "ablated": rows,
        }


@dataclass(frozen=True)
class Effects:
    """Everything about components; of a transformer."""

    loss: Estimate
    """Of the model as it is, over E y²."""
    components: tuple[Effect, ...]
    layers: tuple[Estimate, ...]
    """The loss with each layer held at its mean."""
    dependences: tuple[Dependence, ...]

    def data(self) -> dict[str, Any]:
        """All of it."""
        return {
            "loss": as_json(self.loss),
            "components": [effect.data() for effect in self.components],
            "layers": [as_json(loss) for loss in self.layers],
            "dependences": [dependence.data() for dependence in self.dependences],
        }


def measure_effects(look: Look, n_prompts: int) -> Effects:
    """Direct effects, total effects by mean ablation, and the readouts that are left of every variable.

    Args:
        look: The model, a transformer, and where its variables are looked for.
        n_prompts: Prompts to average over, to fit each readout on, and to score.
    """
    model, components = look.model, components_of(look.model)
    means = component_means(model, look.batches(n_prompts, "means", N_BLOCKS))
    own, ys = _errors(look, n_prompts, [], means)
    losses = {component: _errors(look, n_prompts, [component], means)[0] for component in components}
    layers = [[c for c in components if c.layer == layer] for layer in range(model.cfg.n_layers)]
    by_layer = [_errors(look, n_prompts, held, means)[0] for held in layers]
    shares, slopes = _direct(look, n_prompts)
    found = [Effect("read-in", 0, None, shares[0], slopes[0], None)]
    for place, component in enumerate(components, start=1):
        loss = jackknife_ratio(losses[component], ys)
        found.append(Effect(component.label, component.layer + 1, component.head, shares[place], slopes[place], loss))
    return Effects(
        loss=jackknife_ratio(own, ys),
        components=tuple(found),
        layers=tuple(jackknife_ratio(errors, ys) for errors in by_layer),
        dependences=_dependences(look, n_prompts, layers, means),
    )


def _errors(
    look: Look, n_prompts: int, held: Sequence[Component], means: dict[str, Tensor]
) -> tuple[Float[Tensor, " n_blocks"], Float[Tensor, " n_blocks"]]:
    """Squared errors and squared y at the traced point, by block."""
    totals = torch.zeros(2, N_BLOCKS, dtype=torch.float64)
    with torch.no_grad(), look.model.hooks(fwd_hooks=mean_ablation(held, means)):
        for index, prompts in enumerate(look.batches(n_prompts, "score", N_BLOCKS)):
            y = prompts.ys[:, -1].double()
            error = look.model(prompts.xs, prompts.ys)[:, -1].double() - y
            totals[:, index % N_BLOCKS] += torch.stack([error.square().sum(), y.square().sum()]).cpu()
    return totals[0], totals[1]


def _direct(look: Look, n_prompts: int) -> tuple[list[Estimate] | list[None], list[Estimate]]:
    """Share of the prediction's variance and slope on y, of the read-in and every component."""
    parts, preds, ys = [], [], []
    for prompts in look.batches(n_prompts, "score", N_BLOCKS):
        effects, pred = direct_effects(look.model, prompts)
        parts.append(effects)
        preds.append(pred)
        ys.append(prompts.ys[:, -1].double())
    part, pred, y = (torch.cat(rows) for rows in (parts, preds, ys))
    size = pred.square().mean() + y.square().mean()
    centred, pred, y = part - part.mean(0), pred - pred.mean(), y - y.mean()
    slopes = _ratios(centred * y[:, None], y.square())
    if pred.square().mean() <= CONSTANT * size:
        return [None] * len(slopes), slopes
    return _ratios(centred * pred[:, None], pred.square()), slopes


def _ratios(numerator: Float[Tensor, "n_prompts n_parts"], denominator: Float[Tensor, " n_prompts"]) -> list[Estimate]:
    blocks = [part.sum(0).cpu() for part in numerator.tensor_split(N_BLOCKS)]
    below = torch.stack([part.sum().cpu() for part in denominator.tensor_split(N_BLOCKS)])
    return [jackknife_ratio(column, below) for column in torch.stack(blocks).T[:-1]]


def _dependences(
    look: Look, n_prompts: int, layers: Sequence[Sequence[Component]], means: dict[str, Tensor]
) -> tuple[Dependence, ...]:
    """Of y at the query, and of each variable at scratch tokens: elsewhere a readout takes a matrix of all tokens."""
    sites = {site: variables for site, variables in look.sites.items() if site.name != "all tokens"}
    narrow = Look(look.scope, look.point, _only_y(sites), look.learner)
    intact = _readable(narrow, n_prompts)
    ablated = []
    for held in layers:
        with look.model.hooks(fwd_hooks=mean_ablation(held, means)):
            ablated.append(_readable(narrow, n_prompts))
    return tuple(
        Dependence(
            variable,
            site.name,
            tuple(intact[hook, site, variable] for hook in look.hooks),
            tuple(tuple(row[hook, site, variable] for hook in look.hooks) for row in ablated),
        )
        for site, variables in narrow.sites.items()
        for variable in variables
    )


def _only_y(sites: dict[Site, tuple[Variable, ...]]) -> dict[Site, tuple[Variable, ...]]:
    """At the query, where whatever else is read has hardly a name."""
    return {site: ("y",) if site.name == "query" else variables for site, variables in sites.items()}


def _readable(look: Look, n_prompts: int) -> dict[tuple[str, Site, Variable], Estimate]:
    """R² of readouts fitted to the model as it runs now, on other prompts."""
    readouts = fit_sites(look, n_prompts, ALPHAS)
    errors = {key: torch.zeros(2, N_BLOCKS, dtype=torch.float64) for key in readouts}
    for index, run in enumerate(capture(look.model, look.batches(n_prompts, "score", N_BLOCKS), look.hooks)):
        values = look.values(run.prompts)
        for (hook, site, variable), found in readouts.items():
            target = values.columns(variable)
            off = found.readout.predict(site.read(run.activations[hook])) - target
            sums = torch.stack([off.square().sum(), (target - found.mean).square().sum()])
            errors[hook, site, variable][:, index % N_BLOCKS] += sums.cpu()
    return {key: jackknife_ratio(-off, total, offset=1.0) for key, (off, total) in errors.items()}
