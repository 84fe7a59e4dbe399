"""Fit a readout to every layer of one model from streamed moments, and score it on fresh prompts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.scope import Scope
from mesascope.analyses.sharing import WHOLE, Share
from mesascope.models import LeastSquares, MesascopeError, Prompts
from mesascope.models.errors import nearest
from mesascope.models.streams import generator
from mesascope.probes import Captured, Estimate, LinearReadout, Moments, capture, choose_alpha, jackknife_ratio

N_BLOCKS, N_VARIANTS = 20, 3
TARGETS: dict[str, Callable[[Prompts], Tensor]] = {
    "y": lambda prompts: prompts.ys[..., None],
    "w": lambda prompts: _true_weights(prompts)[:, None, :].expand_as(prompts.xs),
    "w_ols": lambda prompts: LeastSquares().weights(prompts),
}
"""Targets by name; each maps prompts to `[batch, n_points, d_y]`."""


def _true_weights(prompts: Prompts) -> Tensor:
    if prompts.w is None:
        raise MesascopeError("target 'w' needs prompts that were made from a weight vector; use 'y'")
    return prompts.w


class Fitted:
    """Readouts of a target and its nulls at every layer of one model.

    The nulls ride along as further columns: another prompt's targets, and the targets that another prompt's w (or,
    where there is no w, another function of the task) would give on this prompt's x.

    Several processes may share the prompts: their moments are summed, so that each ends with the same readouts.
    """

    def __init__(self, scope: Scope, target: str, n_prompts: int, share: Share = WHOLE):
        model = scope.hooked
        self.scope, self.model, self.target, self.share = scope, model, target, share
        # Made before the first batch, for a process without any has to join in the sum.
        width = self.targets(scope.prompts(1, "fit"), self._functions("fit", 0)).shape[-1]
        zeros = partial(Moments.zeros, model.cfg.d_model, width, (N_BLOCKS,), scope.device)
        moments = {hook: zeros() for hook in model.residual_hooks}
        for index, batch in self._captured(n_prompts, "fit"):
            wanted = self.targets(batch.prompts, self._functions("fit", index)).flatten(0, 1)
            for hook, resid in batch.activations.items():
                moments[hook][index % N_BLOCKS].update(resid.flatten(0, 1), wanted)
        self.readouts = {hook: self._readout(blocks.summed(share.total)) for hook, blocks in moments.items()}

    def _captured(self, n_prompts: int, stream: str) -> Iterator[tuple[int, Captured]]:
        """This process' batches, each with its index among all."""
        batches = self.scope.batches(n_prompts, stream, N_BLOCKS, self.share.taken)
        stream_ = capture(self.model, batches, self.model.residual_hooks, read_only=True)
        return zip(count(self.share.rank, self.share.world), stream_, strict=False)

    @staticmethod
    def _readout(blocks: Moments) -> LinearReadout:
        return LinearReadout(choose_alpha(blocks)).fit_moments(blocks.sum(0))

    def _functions(self, stream: str, index: int) -> torch.Generator:
        """Of a batch, whichever process takes it."""
        return generator(self.scope.seed, f"mismatched {stream}", index, device=self.scope.device)

    def targets(self, prompts: Prompts, rng: torch.Generator) -> Float[Tensor, "batch n_read d_all"]:
        """The target, then its nulls, at the read points."""
        make = TARGETS[self.target]
        variants = [make(prompts), make(prompts).roll(1, 0), make(self._mismatched(prompts, rng))]
        at_read = list(self.model.read_points(prompts.n_points))
        return torch.cat([variant.double() for variant in variants], dim=-1)[:, at_read]

    def _mismatched(self, prompts: Prompts, rng: torch.Generator) -> Prompts:
        # What a sine has in common with all others, E[y | x], is read off x alone: a straight line would miss that.
        if prompts.w is None:
            function = self.scope.regression.function(len(prompts), rng)
            return replace(prompts, ys=function.evaluate(prompts.xs.double()).to(prompts.ys))
        other = prompts.w.roll(1, 0)
        return replace(prompts, ys=torch.einsum("bnd,bd->bn", prompts.xs, other), w=other)

    def score(self, n_prompts: int) -> "Scores":
        """Squared errors on fresh prompts."""
        shape = (N_BLOCKS, len(self.model.read_points(self.scope.task.n_points)), N_VARIANTS)
        totals = torch.zeros(shape, dtype=torch.float64, device=self.scope.device)
        errors = {hook: torch.zeros_like(totals) for hook in self.readouts}

        def by_variant(squares: Tensor) -> Tensor:
            return squares.sum(0).unflatten(-1, (N_VARIANTS, -1)).sum(-1)

        for index, batch in self._captured(n_prompts, "score"):
            wanted, block = self.targets(batch.prompts, self._functions("score", index)), index % N_BLOCKS
            # About zero, not the batch's mean: targets have mean zero by symmetry of w; that of sines the nulls share.
            totals[block] += by_variant(wanted.square())
            for hook, resid in batch.activations.items():
                errors[hook][block] += by_variant((self.readouts[hook].predict(resid) - wanted).square())
        total = self.share.total
        return Scores({hook: total(error) for hook, error in errors.items()}, total(totals), n_prompts)


def fitted(scope: Scope, target: str, n_prompts: int, share: Share = WHOLE) -> Fitted:
    """Readouts at every layer of a scope's model, fitted once.

    Raises:
        MesascopeError: The target is unknown, the scope has no layers, or there are too few prompts.
    """
    if target not in TARGETS:
        raise MesascopeError(f"no target is called {target!r}{nearest(target, TARGETS)}")
    _ = scope.regression  # refuses other tasks
    if n_prompts < 2 * N_BLOCKS:
        raise MesascopeError(f"n_prompts={n_prompts}: readouts need at least {2 * N_BLOCKS}")
    return scope.once(("fitted", target, n_prompts), lambda: Fitted(scope, target, n_prompts, share))


def n_twin_prompts(n_prompts: int) -> int:
    """Prompts to fit an untrained twin's readouts on: a quarter, for there are several twins."""
    return max(2 * N_BLOCKS, n_prompts // 4)


@dataclass(frozen=True)
class Scores:
    """Squared errors of every layer's readouts by block of prompts, point and variant (target, then nulls)."""

    errors: dict[str, Float[Tensor, "n_blocks n_read n_variants"]]
    totals: Float[Tensor, "n_blocks n_read n_variants"]
    """Squared targets."""
    n_prompts: int

    def r2(self, hook: str, variant: int) -> Estimate:
        """R² over all points, with its interval."""
        return jackknife_ratio(-self.errors[hook][..., variant].sum(1), self.totals[..., variant].sum(1), offset=1.0)

    def r2_by_point(self, hook: str) -> tuple[float, ...]:
        """R² of the target at each read point."""
        totals = self.totals[..., 0].sum(0)
        # NaN where the target is zero by definition, as w_ols is before the first point.
        return tuple((1 - self.errors[hook][..., 0].sum(0) / totals.where(totals > 0, torch.nan)).tolist())

    def mse_by_point(self, hook: str) -> tuple[float, ...]:
        """Mean squared error of the target at each read point."""
        return tuple((self.errors[hook][..., 0].sum(0) / self.n_prompts).tolist())
