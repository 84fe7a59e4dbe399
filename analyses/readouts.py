"""What can be read off each layer by one affine map, and how much of that is really there."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from mesascope.analyses.claim import Claim, Figure, Result, fixed
from mesascope.analyses.fitting import N_BLOCKS, fitted, n_twin_prompts
from mesascope.analyses.layers import layer_label
from mesascope.analyses.plots import heatmap, layer_lines, with_band
from mesascope.analyses.scope import N_TWINS, Scope
from mesascope.analyses.sharing import WHOLE, Share
from mesascope.models import LeastSquares, MesascopeError
from mesascope.probes import Estimate, LinearReadout, prediction_interval


@dataclass(frozen=True)
class LayerReadout:
    """One layer's readout, its score on prompts never fitted, and its nulls."""

    hook: str
    label: str
    readout: LinearReadout
    r2: Estimate
    """Over all read points."""
    r2_by_point: tuple[float, ...]
    mse_by_point: tuple[float, ...]
    shuffled: Estimate
    """R² of a readout fitted to another prompt's targets."""
    mismatched: Estimate
    """R² of a readout fitted to the targets that another prompt's w would have given on this prompt's x."""
    untrained: Estimate
    """R² of the true targets at the same place in untrained twins: their mean, and the interval for one more."""

    @property
    def null(self) -> float:
        """The highest upper end of the nulls' intervals, at least zero."""
        return max(0.0, self.shuffled.high, self.mismatched.high, self.untrained.high)

    @property
    def verdict(self) -> str:
        """Decodable, not decodable, or undetermined when the intervals touch."""
        if self.r2.low > self.null:
            return "decodable"
        return "not decodable" if self.r2.high <= max(self.null, 0.01) else "undetermined"


@dataclass(frozen=True)
class Readouts(Result):
    """Readouts of one target at every layer."""

    name: ClassVar[str] = "readouts"
    title: ClassVar[str] = "Linear readouts"
    question: ClassVar[str] = "From which layer on does the residual stream hold the prediction?"

    target: str
    layers: tuple[LayerReadout, ...]
    points: tuple[int, ...]
    least_squares_mse: tuple[float, ...]
    n_prompts: int
    n_scored: int
    seed: int

    @property
    def claims(self) -> tuple[Claim, ...]:
        """One claim a layer, the last layer first."""
        return tuple(
            Claim(
                id=f"readouts.{self.target}.{layer.hook}",
                text=f"{self.target} is read from {layer.label} with R² = {fixed(layer.r2.value)} "
                f"(shuffled targets {fixed(layer.shuffled.value)}, untrained twins {fixed(layer.untrained.value)}).",
                value=layer.r2.value,
                ci=layer.r2.ci,
                null=max(layer.shuffled.value, layer.mismatched.value, layer.untrained.value),
                verdict=layer.verdict,
            )
            for layer in reversed(self.layers)
        )

    def figures(self) -> tuple[Figure, ...]:
        """R² by layer with nulls, and error by prefix length."""
        by_point = (self._r2_by_point(),) if len(self.points) > 1 else ()
        return (self._r2(), self._mse_by_point(), *by_point)

    def _r2(self) -> Figure:
        series = {
            "readout": [layer.r2 for layer in self.layers],
            "shuffled targets": [layer.shuffled for layer in self.layers],
            "another prompt's w": [layer.mismatched for layer in self.layers],
            "untrained twins": [layer.untrained for layer in self.layers],
        }
        return Figure(
            f"readouts-{self.target}-r2",
            f"How well {self.target} is read off each layer",
            "One affine map a layer, fitted by ridge regression on "
            f"{self.n_prompts:,} prompts and scored on {self.n_scored:,} others, all points together. Bars are 95% "
            "intervals (delete-a-block jackknife). A readout means something only above all three nulls: the same "
            "fit to shuffled targets, to targets that another prompt's w would give, and on untrained twins (mean "
            f"of {N_TWINS}, with the interval in which one more would fall).",
            with_band([layer.label for layer in self.layers], series, y_title=f"R² of {self.target}"),
            equation="R² = 1 − Σ‖y − Wᵀh − c‖² / Σ‖y − ȳ‖²",
            source="Fu et al. (2024), section 4.1; departures: closed form instead of Adam, and nulls",
        )

    def _mse_by_point(self) -> Figure:
        plot = layer_lines(
            list(self.points),
            {layer.label: layer.mse_by_point for layer in self.layers},
            {"least squares": self.least_squares_mse} if self.target == "y" else {},
            x_title="points seen before the query",
            y_title=f"mean squared error of {self.target}",
        )
        return Figure(
            f"readouts-{self.target}-mse",
            "Error of each layer's readout by prefix length",
            "How far each layer's reading is from the true value, by the number of points the model has seen. "
            "Layers that come down together add nothing to each other; the grey line is least squares on the same "
            "points, which nothing beats where y is linear in x, without noise and with a dense w.",
            plot,
            equation="E‖y<sub>t</sub> − Wᵀh<sub>t</sub> − c‖²",
            source="Fu et al. (2024), section 4.1",
        )

    def _r2_by_point(self) -> Figure:
        labels, r2 = [layer.label for layer in self.layers], [layer.r2_by_point for layer in self.layers]
        return Figure(
            f"readouts-{self.target}-heat",
            "R² by layer and prefix length",
            "Each cell is the R² of one layer's readout at one prefix length; the readout is the same along a row. "
            "Read upwards for where in depth, rightwards for after how many points.",
            heatmap(list(self.points), labels, r2, "points seen before the query", "R²"),
            equation="R² = 1 − Σ‖y − Wᵀh − c‖² / Σ‖y − ȳ‖² of one t",
            source="Fu et al. (2024), section 4.1",
        )

    def data(self) -> dict[str, Any]:
        """R², MSE and nulls of every layer."""
        return {
            "target": self.target,
            "points": list(self.points),
            "n_prompts": self.n_prompts,
            "n_scored": self.n_scored,
            "seed": self.seed,
            "least_squares_mse": list(self.least_squares_mse),
            "layers": [
                {
                    "hook": layer.hook,
                    "label": layer.label,
                    "alpha": layer.readout.alpha,
                    **{
                        name: {"value": estimate.value, "ci": list(estimate.ci)}
                        for name, estimate in [
                            ("r2", layer.r2),
                            ("shuffled", layer.shuffled),
                            ("mismatched", layer.mismatched),
                            ("untrained", layer.untrained),
                        ]
                    },
                    "r2_by_point": list(layer.r2_by_point),
                    "mse_by_point": list(layer.mse_by_point),
                }
                for layer in self.layers
            ],
        }


def fit_readouts(
    scope: Scope,
    target: str = "y",
    n_prompts: int = 20_000,
    seed: int | None = None,
    n_scored: int = 4_000,
    share: Share = WHOLE,
) -> Readouts:
    """Fit one affine readout of `target` per layer, and score it on prompts that were never fitted.

    The penalty is chosen per layer on held-out blocks. Memory does not depend on the number of prompts.

    Args:
        scope: Where to look; needs a hooked model.
        target: `"y"`, `"w"` (the prompt's true weights) or `"w_ols"` (least squares on the prefix).
        n_prompts: Prompts to fit on.
        seed: Seed of the prompts; default the scope's.
        n_scored: Prompts to score on.
        share: Which of the batches this process takes, where several measure together; each gets the whole result.

    Raises:
        MesascopeError: The target is unknown, the task discrete, the scope has no layers, or there are fewer than 40
            prompts to fit or to score on.

    Source: Fu et al. (2024), section 4.1 (who train each readout by Adam); departure: closed form, with nulls.
    """
    if n_scored < 2 * N_BLOCKS:
        raise MesascopeError(f"n_scored={n_scored}: the intervals need at least {2 * N_BLOCKS} prompts")
    scope = scope.reseeded(seed)
    key = ("readouts", target, n_prompts, n_scored)
    return scope.once(key, lambda: _fit(scope, target, n_prompts, n_scored, share))


def _fit(scope: Scope, target: str, n_prompts: int, n_scored: int, share: Share) -> Readouts:
    own = fitted(scope, target, n_prompts, share)
    scores = own.score(n_scored)
    twins = [
        fitted(twin, target, n_twin_prompts(n_prompts), share).score(max(2 * N_BLOCKS, n_scored // 2))
        for twin in scope.untrained
    ]
    layers = tuple(
        LayerReadout(
            hook=hook,
            label=layer_label(hook),
            readout=own.readouts[hook],
            r2=scores.r2(hook, 0),
            r2_by_point=scores.r2_by_point(hook),
            mse_by_point=scores.mse_by_point(hook),
            shuffled=scores.r2(hook, 1),
            mismatched=scores.r2(hook, 2),
            untrained=prediction_interval(torch.tensor([twin.r2(hook, 0).value for twin in twins])),
        )
        for hook in own.readouts
    )
    points = tuple(scope.model.read_points(scope.task.n_points))
    exact = least_squares_mse(scope, n_scored, share)
    return Readouts(target, layers, points, exact, n_prompts, n_scored, scope.seed)


def least_squares_mse(scope: Scope, n_prompts: int, share: Share = WHOLE) -> tuple[float, ...]:
    """Mean squared error of least squares at each read point, on the prompts that readouts are scored on."""
    total = torch.zeros(len(scope.model.read_points(scope.task.n_points)), dtype=torch.float64, device=scope.device)
    for prompts in scope.batches(n_prompts, "score", taken=share.taken):
        total += scope.at_read_points(LeastSquares().predict(prompts) - prompts.ys).square().sum(0)
    return tuple((share.total(total) / n_prompts).tolist())
