"""Induced weights: the linear map x_q ↦ ŷ that a predictor, or one of its layers, has become after a prefix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from mesascope.models.errors import MesascopeError
from mesascope.models.inputs import random_bases
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor
from mesascope.probes.jackknife import Estimate, share_of_prompts

Predict = Callable[[Prompts], Float[Tensor, "n_labels batch n_read"]]
"""What each of some labels (a model's layers and its output, or a learner alone) predicts at the points it reads."""
Weigh = Callable[[Prompts, int], Float[Tensor, "n_labels batch n_dims"]]
"""From prompts and a point to w̃ at it."""
BATCH = 512
"""Prompts predicted at once."""


def layer_predictor(model: HookedRegressor, readers: Mapping[str, Callable[[Tensor], Tensor]]) -> Predict:
    """What each hook's reader makes of the residual stream at the read points, then the model's output.

    One forward pass, with gradients if they are enabled: `weights_by_jacobian` differentiates through it.

    Args:
        model: A hooked model.
        readers: From `[batch, n_read, d_model]` to `[batch, n_read]`, by hook name.
    """

    def predict(prompts: Prompts) -> Float[Tensor, "n_labels batch n_read"]:
        positions, resid = model.read_positions(prompts.n_points), {}

        def keep(tensor: Tensor, hook: HookPoint) -> None:
            resid[hook.name] = tensor[:, positions]

        with model.hooks(fwd_hooks=[(name, keep) for name in readers]):
            output = model(prompts.xs, prompts.ys)
        return torch.stack([*(read(resid[name]).double() for name, read in readers.items()), output.double()])

    return predict


@dataclass(frozen=True)
class InducedWeights:
    """w̃ of every label and prompt at one point, and how much of the predictions it is."""

    point: int
    weights: Float[Tensor, "n_labels batch n_dims"]
    linear: tuple[Estimate, ...]
    """R² of ŷ = w̃·x_q on the queries, by label: about zero, and adjusted for n_dims fitted numbers. Clustered by
    prompt; 0 for a label that predicts zero."""


def antipodal_queries(prompts: Prompts, rng: torch.Generator, n_frames: int = 2) -> Float[Tensor, "batch n_q n_dims"]:
    """Random orthogonal frames and their negatives, as long as each prompt's x are: n_q = 2 n_frames n_dims.

    Frames weigh all directions alike. With every query its negative is asked too, so that whatever is even in x_q, a
    constant above all, is orthogonal to every w̃·x_q: an intercept would change nothing, and is left out.
    """
    frames = torch.cat([random_bases(len(prompts), prompts.n_dims, rng) for _ in range(n_frames)], dim=1)
    length = prompts.xs.double().square().sum(-1).mean(1).sqrt()
    scaled = frames * length[:, None, None].to(frames)
    return torch.cat([scaled, -scaled], dim=1).to(prompts.xs)


@torch.no_grad()
def weights_by_queries(
    predict: Predict, prompts: Prompts, point: int, queries: Float[Tensor, "batch n_q n_dims"]
) -> InducedWeights:
    """w̃ by least squares of predictions on queries, without intercept.

    Every prompt is cut after `point`, and its last x replaced by each query; what counts is the last point read.

    Args:
        predict: Must accept prompts of point + 1 points. A model that reads the last point alone has only the prefix it
            was made for.
        prompts: Prompts.
        point: t, the length of the prefix.
        queries: More than n_dims for each prompt, such as `antipodal_queries`.

    Raises:
        MesascopeError: There are too few queries, or they do not span the inputs.

    Source: Fu et al. (2024), definition 3.
    """
    n_q, n_dims = queries.shape[1:]
    _check_point(prompts, point)
    if n_q <= n_dims:
        raise MesascopeError(f"{n_q} queries determine {n_dims} weights and leave nothing to test them on; take more")
    xs = torch.cat([prompts.xs[:, :point].repeat_interleave(n_q, 0), queries.flatten(0, 1)[:, None]], dim=1)
    asked = Prompts(xs, prompts.ys[:, : point + 1].repeat_interleave(n_q, 0))
    preds = torch.cat([predict(part)[..., -1].double() for part in asked.split(BATCH)], dim=1)
    preds, known = preds.unflatten(1, (-1, n_q)), queries.double()  # [label, batch, query]
    spread = torch.linalg.svdvals(known)
    if (spread[:, -1] <= 1e-6 * spread[:, 0]).any():
        raise MesascopeError("the queries of some prompt do not span all of x, so that they leave w̃ open; take others")
    weights = torch.einsum("bdq,lbq->lbd", torch.linalg.pinv(known), preds)
    missed = (preds - torch.einsum("bqd,lbd->lbq", known, weights)).square().sum(-1) * n_q / (n_q - n_dims)
    return InducedWeights(point, weights, _shares_explained(missed, preds.square().sum(-1)))


def weights_by_jacobian(predict: Predict, prompts: Prompts, point: int) -> Float[Tensor, "n_labels batch n_dims"]:
    """w̃ = ∂ŷ_t/∂x_t at the prompt's own x_t: exact where ŷ is linear in it, one backward pass a label.

    Raises:
        MesascopeError: The predictions cannot be differentiated.
    """
    _check_point(prompts, point)
    with torch.enable_grad():
        parts = [_differentiate(predict, part, point) for part in prompts.split(BATCH)]
    return torch.cat(parts, dim=1)


def _differentiate(predict: Predict, prompts: Prompts, point: int) -> Float[Tensor, "n_labels batch n_dims"]:
    xs = prompts.xs[:, : point + 1].detach().clone().requires_grad_()
    preds = predict(Prompts(xs, prompts.ys[:, : point + 1]))[..., -1]
    if not preds.requires_grad:
        raise MesascopeError("these predictions cannot be differentiated; take weights_by_queries")
    # A prompt's prediction depends on that prompt alone, so that the gradient of the sum is each one's own.
    slopes = [torch.autograd.grad(row.sum(), xs, retain_graph=True, allow_unused=True)[0] for row in preds]
    zero = torch.zeros_like(xs)
    return torch.stack([(zero if slope is None else slope)[:, point].double() for slope in slopes]).detach()


@torch.no_grad()
def linearity_in_y(
    predict: Predict,
    xs: Float[Tensor, "batch n_points n_dims"],
    ys_1: Float[Tensor, "batch n_points"],
    ys_2: Float[Tensor, "batch n_points"],
) -> list[tuple[Estimate, ...]]:
    """R² of superposition, by label and read point: 1 − Σ(ŷ_12 − (ŷ_1 + ŷ_2)/√2)²/Σŷ_12².

    Prompts with the same x and y_1, y_2 and (y_1 + y_2)/√2, which is as large as they are. At most 1; 0 for a label
    that predicts zero. A constant c fails by (√2 − 1)² = .17 of its own energy.

    Args:
        predict: What is tested.
        xs: Inputs.
        ys_1: Their y for one set of weights (and noise).
        ys_2: Their y for an independent one.
    """
    both = (ys_1 + ys_2) / 2**0.5
    first, second, joint = (
        torch.cat([predict(part).double() for part in Prompts(xs, ys).split(BATCH)], dim=1) for ys in (ys_1, ys_2, both)
    )
    missed, size = (joint - (first + second) / 2**0.5).square(), joint.square()
    return [_shares_explained(*pair) for pair in zip(missed.mT, size.mT, strict=True)]


@dataclass(frozen=True)
class InducedOperators:
    """G with w̃ = G w, for every label and prompt, in the eigenbasis of S_t: a filter has g(λ) on the diagonal alone."""

    point: int
    operators: Float[Tensor, "n_labels batch n_dims n_dims"]
    """UᵀGU."""
    eigenvalues: Float[Tensor, "batch n_dims"]
    """λ, ascending."""

    @property
    def off_diagonal(self) -> tuple[Estimate, ...]:
        """Share of Σ|UᵀGU|² that lies off the diagonal, by label: what no filter explains; 0 for one that is zero.

        In [0, 1] but for the ends of its interval; a random matrix has 1 − 1/n_dims. Clustered by prompt.
        """
        squares = self.operators.square()
        total, diagonal = squares.sum((-1, -2)), squares.diagonal(dim1=-2, dim2=-1).sum(-1)
        return _shares_explained(diagonal, total)


def induced_operators(
    weigh: Weigh, xs: Float[Tensor, "batch n_points n_dims"], point: int, w_std: float, rng: torch.Generator
) -> InducedOperators:
    """Ask for w̃ of n_dims orthogonal w on the same x, without noise, and solve for G.

    Args:
        weigh: How w̃ is found, by Jacobian or by queries.
        xs: Inputs, in prompts of which each is asked n_dims times.
        point: t, the length of the prefix.
        w_std: Scale of w: each has length √n_dims · w_std.
        rng: Draws the frames.
    """
    batch, _, n_dims = xs.shape
    frames = random_bases(batch, n_dims, rng)  # orthonormal rows, one w each
    ys = torch.einsum("bnd,bkd->bkn", xs.double(), frames.to(xs.device)) * n_dims**0.5 * w_std
    weights = weigh(Prompts(xs.repeat_interleave(n_dims, 0), ys.flatten(0, 1).to(xs)), point)
    induced = weights.unflatten(1, (batch, n_dims)) / (n_dims**0.5 * w_std)
    operators = torch.einsum("lbki,bkj->lbij", induced, frames.to(induced))
    d = Prompts(xs[:, : point + 1], ys[:, 0, : point + 1]).decomposition
    U = d.basis[:, point]
    return InducedOperators(point, U.mT @ operators @ U, d.eigenvalues[:, point])


def _check_point(prompts: Prompts, point: int) -> None:
    if not 0 <= point < prompts.n_points:
        raise MesascopeError(f"point={point} of prompts with {prompts.n_points} points; expected 0 … n_points-1")


def _shares_explained(
    missed: Float[Tensor, "n_labels batch"], size: Float[Tensor, "n_labels batch"]
) -> tuple[Estimate, ...]:
    return tuple(share_of_prompts(*pair) for pair in zip(missed, size, strict=True))
