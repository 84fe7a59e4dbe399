"""What the layers of one scope predict at a few prefixes, and what is asked of it besides."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.fitting import n_twin_prompts
from mesascope.analyses.layers import layer_readers, predict_layers, predict_layers_on
from mesascope.analyses.scope import Scope
from mesascope.analyses.spectral.exact_learners import NEAR, ExactLearners
from mesascope.analyses.spectral.layers import LayerResponse
from mesascope.analyses.spectral.steps import Step, fit_steps, is_linear_stack, learners_of
from mesascope.models import HookedRegressor, MesascopeError, Prompts
from mesascope.models.streams import generator
from mesascope.probes import (
    Estimate,
    Spectrum,
    antipodal_queries,
    fit_exponents,
    fit_responses,
    induced_operators,
    layer_predictor,
    linearity_in_y,
    share_interval,
    share_of_prompts,
    weights_by_jacobian,
    weights_by_queries,
)
from mesascope.probes.jackknife import N_BLOCKS

STREAM, REFERENCE = "spectral", 1.5
"""Stream of the prompts; the prefix that claims are about, in points per dimension: enough to have learned from, and
so few that S is ill-conditioned and layers differ."""
N_ASKED, N_OPERATORS, N_SUPERPOSED = 40, 20, 200
"""Prompts for linearity in x_q, for operators (n_dims w each), and for linearity in y."""


def choose_prefixes(points: Sequence[int], n_dims: int) -> list[int]:
    """Up to four points: after half as many as w has unknowns, as many, `REFERENCE` times as many, and the last."""
    later = [point for point in points if point > 0]
    if not later:
        raise MesascopeError(
            f"the model reads points {list(points)} alone, before which there is nothing to learn from"
        )
    wanted = (n_dims / 2, n_dims, REFERENCE * n_dims, later[-1])
    return sorted({min(later, key=lambda point: abs(point - place)) for place in wanted})


class Measurement:
    """One scope while it is measured.

    Args:
        scope: Where to look; its task is linear.
        n_prompts: Prompts to measure on.
        n_fit: Prompts to fit the layers' readouts on.
    """

    def __init__(self, scope: Scope, n_prompts: int, n_fit: int):
        self.scope, self.n_fit, self.task = scope, n_fit, scope.regression
        self.points = choose_prefixes(scope.counted_points, self.task.n_dims)
        self.reference = min(self.points, key=lambda point: abs(point - REFERENCE * self.task.n_dims))
        self.columns = [scope.model.read_points(self.task.n_points).index(point) for point in self.points]
        self.n_twin = max(2 * N_BLOCKS, n_prompts // 8)
        layers = predict_layers(scope, n_prompts, STREAM, n_fit)
        self.labels, self.preds, self.prompts = layers.labels, layers.preds, layers.prompts
        self.spectra = Spectrum.of(self.prompts.to(torch.float64), self.points)

    @cached_property
    def twins(self) -> list[Float[Tensor, "n_labels n_twin n_read"]]:
        """What the untrained twins' layers predict on the first of the prompts."""
        some, n_fit = self.prompts[: self.n_twin], n_twin_prompts(self.n_fit)
        return [predict_layers_on(twin, some, n_fit).preds for twin in self.scope.untrained]

    def prefixes(self) -> dict[int, tuple[LayerResponse, ...]]:
        """Every layer's response, by prefix."""
        superposed = self._linear_in_y()
        return {
            spectrum.point: self._prefix(spectrum, column, [by_read[column] for by_read in superposed])
            for spectrum, column in zip(self.spectra, self.columns, strict=True)
        }

    def _prefix(self, spectrum: Spectrum, column: int, linear_y: Sequence[Estimate]) -> tuple[LayerResponse, ...]:
        preds = spectrum.targets(self.preds[..., column])
        responses = fit_responses(spectrum, preds)
        shuffled = fit_responses(spectrum, preds.roll(1, dims=1), knots=(2,))
        first = spectrum.first(self.n_twin)
        untrained = _intervals(
            [[r.ceiling.value for r in fit_responses(first, twin[..., column])] for twin in self.twins]
        )
        linear_x, off_diagonal = self._induced(spectrum.point)
        converged = spectrum.parts().z.sum(1)
        layers = [
            LayerResponse(
                label=label,
                response=responses[index],
                exponent=None,
                rivals={},
                least_squares=share_of_prompts((preds[index] - converged).square(), preds[index].square()),
                linear_x=linear_x[index],
                linear_y=linear_y[index],
                off_diagonal=off_diagonal[index],
                shuffled=shuffled[index].ceiling,
                untrained=untrained[index] if untrained else None,
            )
            for index, label in enumerate(self.labels)
        ]
        return self._with_exponents(spectrum, preds, layers)

    def _with_exponents(
        self, spectrum: Spectrum, preds: Float[Tensor, "n_labels batch"], layers: Sequence[LayerResponse]
    ) -> tuple[LayerResponse, ...]:
        """The layers with their exponents and rivals, where there is a response."""
        at_end, drawn = spectrum is self.spectra[-1], spectrum.point == self.reference
        exact = ExactLearners(spectrum, learners_of(self.steps) if at_end else ())  # the steps were fitted there
        found = []
        for layer, own in zip(layers, preds, strict=True):
            if layer.response.ceiling.low > layer.null:
                unit, near = layer.response.unit, 0.0 if layer.converged else NEAR
                (exponent,) = fit_exponents(spectrum, own[None], unit)
                layer = replace(layer, exponent=exponent, rivals=exact.rivals(own, unit, near, drawn))
            found.append(layer)
        return tuple(found)

    def _predict(self, prompts: Prompts) -> Float[Tensor, "n_labels batch n_read"]:
        model = self.scope.model
        if isinstance(model, HookedRegressor):
            return layer_predictor(model, layer_readers(self.scope, self.n_fit))(prompts)
        return self.scope.predict(prompts)[None]

    def _asked(self, n_prompts: int, part: str) -> Prompts:
        return self.scope.prompts(n_prompts, f"{STREAM} {part}")

    def _rng(self, *labels: object) -> torch.Generator:
        return generator(self.scope.seed, STREAM, *labels, device=self.scope.device)

    def _linear_in_y(self) -> list[tuple[Estimate, ...]]:
        """By label and read point."""
        one, other = self._asked(2 * N_SUPERPOSED, "superposed").split(N_SUPERPOSED)
        assert one.w is not None and other.w is not None  # the task is linear
        # The same x with the other's w, and its noise.
        shift = torch.einsum("bnd,bd->bn", one.xs - other.xs, other.w)
        return linearity_in_y(self._predict, one.xs, one.ys, other.ys + shift)

    def _induced(self, point: int) -> tuple[Sequence[Estimate], Sequence[Estimate]]:
        """Linearity in x_q, and energy off the diagonal, by label."""
        prompts = self._asked(N_ASKED, "queries")
        queries = antipodal_queries(prompts, self._rng("queries", point))
        linear = weights_by_queries(self._predict, prompts, point, queries).linear
        xs = self._asked(N_OPERATORS, "operators").xs
        operators = induced_operators(self._weigh, xs, point, self.task.w_std, self._rng("operators", point))
        return linear, operators.off_diagonal

    def _weigh(self, prompts: Prompts, point: int) -> Float[Tensor, "n_labels batch n_dims"]:
        """Induced weights: by Jacobian where there are gradients."""
        if isinstance(self.scope.model, HookedRegressor):
            return weights_by_jacobian(self._predict, prompts, point)
        asked = antipodal_queries(prompts, self._rng("frames", point), n_frames=1)
        return weights_by_queries(self._predict, prompts, point, asked).weights

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The layers as steps of GD++, if it is a stack of linear self-attention."""
        model, column = self.scope.model, self.columns[-1]
        if not isinstance(model, HookedRegressor) or not is_linear_stack(model):
            return ()
        spectrum, rows = self.spectra[-1], [i for i, label in enumerate(self.labels) if label.startswith("layer ")]
        found = fit_steps(spectrum, self.preds[rows, :, column])
        first = spectrum.first(self.n_twin)
        untrained = _intervals(
            [[r2.value for *_, r2 in fit_steps(first, twin[rows, :, column])] for twin in self.twins]
        )
        named = zip(rows, found, untrained, strict=True)
        return tuple(Step(self.labels[row], eta, gamma, r2, null) for row, (eta, gamma, r2), null in named)


def _intervals(by_twin: Sequence[Sequence[float]]) -> list[Estimate]:
    """For each layer the mean of the twins and the interval for one more; none without twins."""
    return [share_interval(torch.tensor(values)) for values in zip(*by_twin, strict=True)]
