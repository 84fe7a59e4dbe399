"""Which fraction of w each layer recovers along an eigenvector of S, and which family recovers it so."""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

from mesascope.analyses.claim import Claim, Figure, Result, as_json
from mesascope.analyses.scope import Scope
from mesascope.analyses.spectral.claims import (
    explained_claim,
    exponent_claim,
    off_diagonal_claim,
    step_claim,
    summary_claim,
)
from mesascope.analyses.spectral.figures import draw
from mesascope.analyses.spectral.layers import LayerResponse
from mesascope.analyses.spectral.measurement import Measurement
from mesascope.analyses.spectral.steps import Step
from mesascope.models import MesascopeError
from mesascope.probes import Estimate
from mesascope.probes.jackknife import N_BLOCKS


@dataclass(frozen=True)
class SpectralResponse(Result):
    """The response of every layer at a few prefixes."""

    name: ClassVar[str] = "spectral"
    title: ClassVar[str] = "Spectral response"
    question: ClassVar[str] = "Which fraction of w does each layer recover along an eigenvector?"

    prefixes: dict[int, tuple[LayerResponse, ...]]
    """Layers by the number of points before the query."""
    reference: int
    """The prefix that claims and figures are about."""
    steps: tuple[Step, ...]
    """Layers as steps of GD++; empty but for stacks of linear self-attention."""
    n_dims: int
    n_prompts: int
    seed: int

    @property
    def layers(self) -> tuple[LayerResponse, ...]:
        """Those at the reference prefix."""
        return self.prefixes[self.reference]

    @property
    def after(self) -> str:
        """The reference prefix in words."""
        return f"after {self.reference} point{'s' if self.reference > 1 else ''}"

    @property
    def claims(self) -> tuple[Claim, ...]:
        """A summary, each layer's exponent, the steps of GD++, each layer's explained share, the output's operator."""
        after, last_first = self.after.capitalize(), self.layers[::-1]
        summary, *steps = self.headlines
        exponents = [claim for layer in last_first if (claim := exponent_claim(after, layer)) is not None]
        explained = [explained_claim(after, layer) for layer in last_first]
        off_diagonal = off_diagonal_claim(after, self.layers[-1], self.n_dims)
        return summary, *exponents, *steps, *explained, off_diagonal

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """The summary, and what each step of GD++ is."""
        return summary_claim(self.after.capitalize(), self.layers), *map(step_claim, self.steps)

    def figures(self) -> tuple[Figure, ...]:
        """Responses, exponents and gates by layer."""
        return draw(self)

    def data(self) -> dict[str, Any]:
        """Everything at every prefix."""
        return {
            "n_prompts": self.n_prompts,
            "seed": self.seed,
            "reference": self.reference,
            "prefixes": [
                {"point": point, "layers": [_json(layer) | {"verdict": layer.verdict} for layer in layers]}
                for point, layers in self.prefixes.items()
            ],
            "gd_plus_plus": [_json(step) | {"verdict": step.verdict} for step in self.steps],
        }


def _json(part: Any) -> Any:
    """Dataclasses as dictionaries of their fields, an estimate as its value and interval."""
    if isinstance(part, Estimate):
        return as_json(part)
    if isinstance(part, dict):
        return {key: _json(value) for key, value in part.items()}
    if isinstance(part, tuple):
        return [_json(value) for value in part]
    return {f.name: _json(getattr(part, f.name)) for f in fields(part)} if is_dataclass(part) else part


def measure_response(
    scope: Scope, seed: int | None = None, n_prompts: int = 2_000, n_fit: int = 4_000
) -> SpectralResponse:
    """Measure g(λ), the fraction of w that each layer recovers along an eigenvector of S, from plain predictions.

    At a few prefixes each layer's predictions are regressed on what every eigendirection could add to them (a cubic
    spline of log λ), and their shape is summed up by the exponent p of g = 1 − exp(−τλ^p), beside that of the exact
    learners that predict most alike on the same prompts. Whether a filter is the whole account is asked directly: is
    the prediction linear in x_q, linear in y, and the map from w to the induced weights diagonal?

    Args:
        scope: Where to look; a bare predictor has only its output.
        seed: Seed of the prompts; default the scope's.
        n_prompts: Prompts to measure on.
        n_fit: Prompts to fit the layers' readouts on; a quarter of them for each untrained twin.

    Raises:
        MesascopeError: The task is not linear, the model reads no point after another, or there are too few prompts.

    Source: methods, section 9; the filter view of in-context learners is von Oswald et al.'s (2023) and Fu et al.'s
    (2024) algorithms written in the eigenbasis of S.
    """
    scope = scope.reseeded(seed)
    task = scope.regression
    if not task.linear:
        raise MesascopeError(f"{task.name} is not linear in x, so there is no w to recover; attach with a linear task")
    if n_prompts < 4 * N_BLOCKS:
        raise MesascopeError(f"n_prompts={n_prompts}: a spectral response needs at least {4 * N_BLOCKS}")
    return scope.once(("spectral", n_prompts, n_fit), lambda: _measure(scope, n_prompts, n_fit))


def _measure(scope: Scope, n_prompts: int, n_fit: int) -> SpectralResponse:
    measurement = Measurement(scope, n_prompts, n_fit)
    return SpectralResponse(
        prefixes=measurement.prefixes(),
        reference=measurement.reference,
        steps=measurement.steps,
        n_dims=scope.regression.n_dims,
        n_prompts=n_prompts,
        seed=scope.seed,
    )
