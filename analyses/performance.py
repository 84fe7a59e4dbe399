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
from mesascope.models import Prompts
from mesascope.models.tasks import Regression, Task
from mesascope.probes import Estimate, block_sums, jackknife_ratio

N_BLOCKS = 20
SCALES = tuple(2.0 ** (exponent / 2) for exponent in range(-6, 7))
"""Factors on w at which the relative loss is looked at."""
TOLERANCE = 0.01
"""Excess loss, relative to that of predicting zero, below which a model counts as good as the reference."""


@dataclass(frozen=True)
class ComponentPerformance:
    """The model on one component of its task."""

    name: str
    model: tuple[float, ...]
    """Mean loss relative to that of predicting zero, by read point."""
    reference: tuple[float, ...]
    reference_name: str
    """The learner that the task is best solved by, as far as one is known that is quick to compute."""
    untrained: tuple[float, ...]
    """Of the untrained twin; empty for a bare predictor."""
    excess: Estimate
    """(loss − reference's)/(loss of predicting zero), over the late points."""
    skill: Estimate
    """1 − loss/(loss of predicting zero) over all points: 0 for the zero predictor."""
    untrained_excess: float | None

    @property
    def verdict(self) -> str:
        """Compared with the reference and with predicting zero."""
        if self.skill.low <= 0:
            return "no better than zero" if self.skill.high <= 0 else "undetermined"
        if self.excess.high <= TOLERANCE:
            return f"{'as good as' if self.excess.low >= -TOLERANCE else 'better than'} {self.reference_name}"
        return f"learns, but worse than {self.reference_name}" if self.excess.low > 0 else "undetermined"


@dataclass(frozen=True)
class ScaleScan:
    """The model with w scaled: is the stated scale the one it was trained at?"""

    w_std: float
    relative_loss: tuple[float, ...]
    """MSE/E y² over the late points, with w scaled by `SCALES`."""
    best: Estimate
    """The least of these."""
    gain: Estimate
    """Relative loss at the stated scale minus that at the best scale."""

    @property
    def best_w_std(self) -> float:
        """The scale of w with the least relative loss; the stated one unless another is clearly better."""
        if self.fits:
            return self.w_std
        return self.w_std * SCALES[min(range(len(SCALES)), key=self.relative_loss.__getitem__)]

    @property
    def learns(self) -> bool:
        """Whether there is a scale at which the model beats predicting zero; otherwise the scan says nothing."""
        return self.best.high < 1

    @property
    def fits(self) -> bool:
        """Whether no other scale of w suits the model clearly better: a third of the loss, and beyond the interval."""
        if not self.learns:
            return True
        stated = self.relative_loss[SCALES.index(1.0)]
        return self.gain.low <= 0 or self.gain.value < stated / 3

    @property
    def warnings(self) -> tuple[str, ...]:
        """A task that is not the one trained on."""
        if self.fits:
            return ()
        stated, best = self.relative_loss[SCALES.index(1.0)], min(self.relative_loss)
        return (
            f"The stated scale of w, w_std={self.w_std:g}, does not look like the one trained on: the relative loss is "
            f"{stated:.2g} there but {best:.2g} at w_std≈{self.best_w_std:.2g}. State it with --w-std.",
        )

    def claim(self, late_points: str) -> Claim:
        """Whether the stated scale fits."""
        if not self.learns:
            better = "is not clearly below that of predicting zero, nor is it at any other scale"
        elif self.fits:
            better = "is not clearly above that at any other scale"
        else:
            better = f"is {self.gain.value:.2g} above that at w_std≈{self.best_w_std:.2g}, which suits the model best"
        return Claim(
            id="performance.w_std",
            text=f"With w_std={self.w_std:g} the relative loss {late_points} {better}.",
            value=self.gain.value,
            ci=self.gain.ci,
            null=0.0,
            verdict="undetermined"
            if not self.learns
            else "fits the model"
            if self.fits
            else "not the scale trained on",
        )

    def figure(self) -> Figure:
        """Loss by scale of w."""
        plot = lines(
            [self.w_std * scale for scale in SCALES], {"model": self.relative_loss}, "w_std", "MSE / E y²", log=True
        )
        plot.update_xaxes(type="log")
        plot.add_vline(x=self.w_std, line={"dash": "dash", "color": NEUTRAL})
        # On a logarithmic axis an annotation, unlike a shape, is placed by the logarithm.
        plot.add_annotation(x=math.log10(self.w_std), y=1, yref="paper", text="stated", showarrow=False, xshift=24)
        return Figure(
            "performance-scale",
            "Loss by scale of w",
            "The same prompts with w, and so y, scaled. Least squares would not notice; a transformer with norms "
            "and a fixed read-in does, and is at its best where it was trained. A minimum away from the dashed "
            "line means that the stated task is not the one trained on.",
            plot,
            shows=("performance.w_std",),
            equation="E(ŷ − y)² / E y² of prompts with w ~ N(0, w_std²)",
            source="the measure is ours",
        )


@dataclass(frozen=True)
class Performance(Result):
    """The model's loss on its task, beside its references."""

    name: ClassVar[str] = "performance"
    title: ClassVar[str] = "The task"
    question: ClassVar[str] = "Does the model solve the task, and is it the one it was trained on?"

    components: tuple[ComponentPerformance, ...]
    points: tuple[int, ...]
    """The points whose loss counts."""
    late: int
    """First point that counts as late."""
    scale: ScaleScan | None
    """None where y does not scale with w."""
    n_prompts: int

    @property
    def _late_points(self) -> str:
        return f"after {self.late} points" if self.late == self.points[-1] else f"from {self.late} points on"

    @property
    def warnings(self) -> tuple[str, ...]:
        """A task that is not the one trained on."""
        return () if self.scale is None else self.scale.warnings

    @property
    def claims(self) -> tuple[Claim, ...]:
        """One claim for each component, and one for the scale of w."""
        found = [
            Claim(
                id=f"performance.{part.name}",
                text=f"On {part.name} prompts the loss is {abs(part.excess.value):.2g} of that of predicting zero "
                f"{'above' if part.excess.value >= 0 else 'below'} that of {part.reference_name}, {self._late_points}.",
                value=part.excess.value,
                ci=part.excess.ci,
                null=part.untrained_excess,
                verdict=part.verdict,
            )
            for part in self.components
        ]
        return (*found, *([] if self.scale is None else [self.scale.claim(self._late_points)]))

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """Every claim: the rest of a report stands on them."""
        return self.claims

    def figures(self) -> tuple[Figure, ...]:
        """Loss by prefix length, and by scale of w."""
        series: dict[str, tuple[float, ...]] = {}
        for part in self.components:
            prefix = f"{part.name}: " if len(self.components) > 1 else ""
            series[f"{prefix}model"] = part.model
            series[f"{prefix}{part.reference_name}"] = part.reference
            if part.untrained:
                series[f"{prefix}untrained twin"] = part.untrained
        by_point = lines(
            list(self.points), series, "points seen before the query", "loss (predicting zero is 1)", log=True
        )
        points = Figure(
            "performance-points",
            "Loss by prefix length",
            f"Mean loss on {self.n_prompts:,} prompts of each kind (the squared error on regression), relative to that "
            "of predicting zero. A learner that solves noiseless linear regression falls with least squares, which is "
            "exact once it has seen as many points as dimensions (its curve then leaves the plot).",
            by_point,
            equation="L<sub>t</sub> = E(ŷ<sub>t</sub> − y<sub>t</sub>)² / E y<sub>t</sub>²",
            source="Garg et al. (2022), section 3; departure: relative to predicting zero",
        )
        return (points, *([] if self.scale is None else [self.scale.figure()]))

    def data(self) -> dict[str, Any]:
        """Errors by component and point, and the scan over scales."""
        return {
            "n_prompts": self.n_prompts,
            "points": list(self.points),
            "components": [
                {
                    "name": part.name,
                    "model": list(part.model),
                    "reference": {"name": part.reference_name, "loss": list(part.reference)},
                    "untrained": list(part.untrained),
                    "excess": {"value": part.excess.value, "ci": list(part.excess.ci)},
                    "skill": {"value": part.skill.value, "ci": list(part.skill.ci)},
                }
                for part in self.components
            ],
            **(
                {}
                if self.scale is None
                else {
                    "w_std": self.scale.w_std,
                    "scales": [self.scale.w_std * scale for scale in SCALES],
                    "relative_loss": list(self.scale.relative_loss),
                }
            ),
        }


def measure_performance(scope: Scope, n_prompts: int = 2_000, seed: int | None = None) -> Performance:
    """Compare the model's loss with its reference, zero and its untrained twin; look for the scale it was trained at.

    Args:
        scope: Where to look.
        n_prompts: Prompts for each component of the task.
        seed: Seed of the prompts; default the scope's.
    """
    scope = scope.reseeded(seed)
    return scope.once(("performance", n_prompts), lambda: _measure(scope, n_prompts))


def _measure(scope: Scope, n_prompts: int) -> Performance:
    points = scope.counted_points
    late = next((t for t in points if t >= scope.task.late), points[0])
    components = tuple(
        _component(scope, name, task, points.index(late), n_prompts) for name, task in scope.task.components().items()
    )
    scan = None
    if isinstance(scope.task, Regression) and scope.task.scales_with_w:
        scan = _scan_scales(scope, scope.task, points.index(late), n_prompts // 4)
    return Performance(components, points, late, scan, n_prompts)


def _component(scope: Scope, name: str, task: Task, late: int, n_prompts: int) -> ComponentPerformance:
    prompts = task.sample(n_prompts, seed=scope.seed, stream="performance", device=scope.device, dtype=scope.dtype)
    model = _losses(scope, prompts)
    reference, points = task.reference(), list(scope.counted_points)
    preds, ys = reference.predict(prompts)[:, points], prompts.ys[:, points].double()
    exact, null = (block_sums(task.loss(guess, ys), N_BLOCKS) for guess in (preds, torch.zeros_like(preds)))
    twin = _losses(scope.untrained[0], prompts) if scope.untrained else None
    by_point = null.sum(0)

    def excess(losses: Tensor) -> Estimate:
        return jackknife_ratio((losses - exact)[:, late:].sum(1), null[:, late:].sum(1))

    return ComponentPerformance(
        name=name,
        model=tuple((model.sum(0) / by_point).tolist()),
        reference=tuple((exact.sum(0) / by_point).tolist()),
        reference_name=reference.label,
        untrained=() if twin is None else tuple((twin.sum(0) / by_point).tolist()),
        excess=excess(model),
        skill=jackknife_ratio(-model.sum(1), null.sum(1), offset=1.0),
        untrained_excess=None if twin is None else excess(twin).value,
    )


def _losses(scope: Scope, prompts: Prompts) -> Float[Tensor, "n_blocks n_scored"]:
    """Block sums of the model's loss."""
    read = scope.model.read_points(prompts.n_points)
    return block_sums(scope.task.counted_losses(scope.predict(prompts), prompts.ys.double(), read), N_BLOCKS)


def _scan_scales(scope: Scope, task: Regression, late: int, n_prompts: int) -> ScaleScan:
    """Late losses with w scaled by each of `SCALES`, divided by the scale's square."""
    prompts = scope.prompts(n_prompts, "scale")
    scaled = [_losses(scope, Prompts(prompts.xs, c * prompts.ys))[:, late:].sum(1) / c**2 for c in SCALES]
    losses, ys = torch.stack(scaled, dim=1), prompts.ys[:, list(scope.counted_points[late:])].double()
    power = block_sums(task.loss(torch.zeros_like(ys), ys), N_BLOCKS).sum(1)
    total = losses.sum(0) / power.sum()
    best = losses[:, int(total.argmin())]
    gain = jackknife_ratio(losses[:, SCALES.index(1.0)] - best, power)
    return ScaleScan(task.w_std, tuple(total.tolist()), jackknife_ratio(best, power), gain)
