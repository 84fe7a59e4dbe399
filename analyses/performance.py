"""Does the model do the task at all, and is the task the one it was trained on?"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.plots import NEUTRAL, lines
from mesascope.analyses.scope import Scope
from mesascope.models import LeastSquares, Prompts
from mesascope.models.tasks import Task
from mesascope.probes import Estimate, block_sums, jackknife_ratio

N_BLOCKS = 20
SCALES = tuple(2.0 ** (exponent / 2) for exponent in range(-6, 7))
"""Factors on w at which the relative loss is looked at."""
TOLERANCE = 0.01
"""Excess error, relative to E y², below which a model counts as good as least squares."""


@dataclass(frozen=True)
class ComponentPerformance:
    """The model on one component of its task."""

    name: str
    model: tuple[float, ...]
    """Mean squared error relative to E y², by read point."""
    least_squares: tuple[float, ...]
    untrained: tuple[float, ...]
    """Of the untrained twin; empty for a bare predictor."""
    excess: Estimate
    """(MSE − MSE of least squares)/E y², over the read points from t = n_dims+3 on (or all, if there are none)."""
    skill: Estimate
    """1 − MSE/E y² over all read points: 0 for the zero predictor."""
    untrained_excess: float | None

    @property
    def verdict(self) -> str:
        """Compared with least squares and with predicting zero."""
        if self.skill.low <= 0:
            return "no better than zero" if self.skill.high <= 0 else "undetermined"
        if self.excess.high <= TOLERANCE:
            return "as good as least squares" if self.excess.low >= -TOLERANCE else "better than least squares"
        return "learns, but worse than least squares" if self.excess.low > 0 else "undetermined"


@dataclass(frozen=True)
class Performance(Result):
    """The model's loss on its task, beside its references."""

    name: ClassVar[str] = "performance"
    title: ClassVar[str] = "The task"
    question: ClassVar[str] = "Does the model solve the task, and is it the one it was trained on?"

    components: tuple[ComponentPerformance, ...]
    points: tuple[int, ...]
    late: int
    """First point that counts as late."""
    w_std: float
    relative_loss: tuple[float, ...]
    """MSE/E y² over the late read points, with w scaled by `SCALES`."""
    gain: Estimate
    """Relative loss at the stated scale minus that at the best scale."""
    n_prompts: int

    @property
    def _late_points(self) -> str:
        return f"after {self.late} points" if self.late == self.points[-1] else f"from {self.late} points on"

    @property
    def best_w_std(self) -> float:
        """The scale of w with the least relative loss; the stated one unless another is clearly better."""
        if self.fits_stated_scale:
            return self.w_std
        return self.w_std * SCALES[min(range(len(SCALES)), key=self.relative_loss.__getitem__)]

    @property
    def fits_stated_scale(self) -> bool:
        """Whether no other scale of w suits the model clearly better: a third of the loss, and beyond the interval."""
        stated = self.relative_loss[SCALES.index(1.0)]
        return self.gain.low <= 0 or self.gain.value < stated / 3

    @property
    def warnings(self) -> tuple[str, ...]:
        """A task that is not the one trained on."""
        if self.fits_stated_scale:
            return ()
        stated, best = self.relative_loss[SCALES.index(1.0)], min(self.relative_loss)
        return (
            f"The stated scale of w, w_std={self.w_std:g}, does not look like the one trained on: the relative loss is "
            f"{stated:.2g} there but {best:.2g} at w_std≈{self.best_w_std:.2g}. State it with --w-std.",
        )

    @property
    def claims(self) -> tuple[Claim, ...]:
        """One claim for each component, and one for the scale of w."""
        found = [
            Claim(
                id=f"performance.{part.name}",
                text=f"On {part.name} inputs the error exceeds that of least squares by {part.excess.value:.2g} of "
                f"E y² {self._late_points}.",
                value=part.excess.value,
                ci=part.excess.ci,
                null=part.untrained_excess,
                verdict=part.verdict,
            )
            for part in self.components
        ]
        better = f"is {self.gain.value:.2g} above that at w_std≈{self.best_w_std:.2g}, which suits the model best"
        scale = Claim(
            id="performance.w_std",
            text=f"With w_std={self.w_std:g} the relative loss {self._late_points} "
            + ("is not clearly above that at any other scale." if self.best_w_std == self.w_std else f"{better}."),
            value=self.gain.value,
            ci=self.gain.ci,
            null=0.0,
            verdict="fits the model" if self.fits_stated_scale else "not the scale trained on",
        )
        return (*found, scale)

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """Every claim: the rest of a report stands on them."""
        return self.claims

    def figures(self) -> tuple[Figure, ...]:
        """Error by prefix length, and loss by scale of w."""
        series: dict[str, tuple[float, ...]] = {}
        for part in self.components:
            prefix = f"{part.name}: " if len(self.components) > 1 else ""
            series[f"{prefix}model"] = part.model
            series[f"{prefix}least squares"] = part.least_squares
            if part.untrained:
                series[f"{prefix}untrained twin"] = part.untrained
        by_point = lines(
            list(self.points), series, "points seen before the query", "MSE / E y² (predicting zero is 1)", log=True
        )
        by_scale = lines(
            [self.w_std * scale for scale in SCALES], {"model": self.relative_loss}, "w_std", "MSE / E y²", log=True
        )
        by_scale.update_xaxes(type="log")
        by_scale.add_vline(x=self.w_std, line={"dash": "dash", "color": NEUTRAL})
        # On a logarithmic axis an annotation, unlike a shape, is placed by the logarithm.
        by_scale.add_annotation(x=math.log10(self.w_std), y=1, yref="paper", text="stated", showarrow=False, xshift=24)
        return (
            Figure(
                "performance-points",
                "Error by prefix length",
                f"Mean squared error on {self.n_prompts:,} prompts of each kind, relative to predicting zero. A "
                "learner that solves noiseless linear regression falls with least squares, which is exact once it has "
                "seen as many points as dimensions (its curve then leaves the plot).",
                by_point,
            ),
            Figure(
                "performance-scale",
                "Loss by scale of w",
                "The same prompts with w, and so y, scaled. Least squares would not notice; a transformer with norms "
                "and a fixed read-in does, and is at its best where it was trained. A minimum away from the dashed "
                "line means that the stated task is not the one trained on.",
                by_scale,
            ),
        )

    def data(self) -> dict[str, Any]:
        """Errors by component and point, and the scan over scales."""
        return {
            "n_prompts": self.n_prompts,
            "points": list(self.points),
            "components": [
                {
                    "name": part.name,
                    "model": list(part.model),
                    "least_squares": list(part.least_squares),
                    "untrained": list(part.untrained),
                    "excess": {"value": part.excess.value, "ci": list(part.excess.ci)},
                    "skill": {"value": part.skill.value, "ci": list(part.skill.ci)},
                }
                for part in self.components
            ],
            "w_std": self.w_std,
            "scales": [self.w_std * scale for scale in SCALES],
            "relative_loss": list(self.relative_loss),
        }


def measure_performance(scope: Scope, n_prompts: int = 2_000, seed: int | None = None) -> Performance:
    """Compare the model's error with least squares, zero and its untrained twin; look for the scale it was trained at.

    Args:
        scope: Where to look.
        n_prompts: Prompts for each component of the task.
        seed: Seed of the prompts; default the scope's.
    """
    scope = scope.reseeded(seed)
    return scope.once(("performance", n_prompts), lambda: _measure(scope, n_prompts))


def _measure(scope: Scope, n_prompts: int) -> Performance:
    points = tuple(scope.model.read_points(scope.task.n_points))
    late = next((t for t in points if t >= scope.task.n_dims + 3), points[0])
    components = tuple(
        _component(scope, name, task, points.index(late), n_prompts) for name, task in scope.task.components().items()
    )
    losses, power = _losses_by_scale(scope, points.index(late), n_prompts // 4)
    total = losses.sum(0) / power.sum()
    best = int(total.argmin())
    gain = jackknife_ratio(losses[:, SCALES.index(1.0)] - losses[:, best], power)
    return Performance(components, points, late, scope.task.w_std, tuple(total.tolist()), gain, n_prompts)


def _component(scope: Scope, name: str, task: Task, late: int, n_prompts: int) -> ComponentPerformance:
    prompts = task.sample(n_prompts, seed=scope.seed, stream="performance", device=scope.device, dtype=scope.dtype)
    power = scope.at_read_points(block_sums(prompts.ys.square(), N_BLOCKS))
    model = _squared_errors(scope, prompts)
    exact = block_sums(scope.at_read_points(LeastSquares().predict(prompts) - prompts.ys).square(), N_BLOCKS)
    twin = _squared_errors(scope.untrained[0], prompts) if scope.untrained else None
    by_point = power.sum(0)

    def excess(errors: Tensor) -> Estimate:
        return jackknife_ratio((errors - exact)[:, late:].sum(1), power[:, late:].sum(1))

    return ComponentPerformance(
        name=name,
        model=tuple((model.sum(0) / by_point).tolist()),
        least_squares=tuple((exact.sum(0) / by_point).tolist()),
        untrained=() if twin is None else tuple((twin.sum(0) / by_point).tolist()),
        excess=excess(model),
        skill=jackknife_ratio(-model.sum(1), power.sum(1), offset=1.0),
        untrained_excess=None if twin is None else excess(twin).value,
    )


def _squared_errors(scope: Scope, prompts: Prompts) -> Float[Tensor, "n_blocks n_read"]:
    return block_sums((scope.predict(prompts) - scope.at_read_points(prompts.ys)).square(), N_BLOCKS)


def _losses_by_scale(
    scope: Scope, late: int, n_prompts: int
) -> tuple[Float[Tensor, "n_blocks n_scales"], Float[Tensor, " n_blocks"]]:
    """Late squared errors with w scaled by each of `SCALES`, divided by the scale's square, and late Σy²; by block."""
    prompts = scope.prompts(n_prompts, "scale")
    losses = [
        _squared_errors(scope, Prompts(prompts.xs, scale * prompts.ys))[:, late:].sum(1) / scale**2 for scale in SCALES
    ]
    power = scope.at_read_points(block_sums(prompts.ys.square(), N_BLOCKS))
    return torch.stack(losses, dim=1), power[:, late:].sum(1)
