"""One gradient step on learned features, and what may be meant by it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from mesascope.analyses.side_checks.agreement import BATCH, Predict
from mesascope.models import HookedRegressor, Prompts


@dataclass(frozen=True)
class Stream:
    """What the last attention layer reads, and where the prediction stands before it."""

    tokens: Float[Tensor, "batch n_points d_model"]
    """(x_j, y_j), and (x_q, 0) last."""
    features: Float[Tensor, "batch n_points d_model"]
    """(x_j, 0) for all: what the layers make of x alone."""
    starts: Float[Tensor, "batch n_points"]
    """ŷ_0(x_j), what is predicted of each x before any example was looked at."""


Step = Callable[[HookedRegressor, Stream, Prompts], Float[Tensor, " batch"]]
"""Σ_j of what each example adds to the prediction, for η = n."""


def _as_they_are(model: HookedRegressor, stream: Stream, prompts: Prompts) -> Float[Tensor, " batch"]:
    query, keys = _others(model, stream.tokens[:, -1]), _others(model, stream.tokens[:, :-1])
    return torch.einsum("bi,bni,bn->b", query, keys, stream.tokens[:, :-1, model.cfg.y_slot])


def _from_start(model: HookedRegressor, stream: Stream, prompts: Prompts) -> Float[Tensor, " batch"]:
    query, keys = _others(model, stream.features[:, -1]), _others(model, stream.features[:, :-1])
    return torch.einsum("bi,bni,bn->b", query, keys, (prompts.ys - stream.starts)[:, :-1])


def _preconditioned(model: HookedRegressor, stream: Stream, prompts: Prompts) -> Float[Tensor, " batch"]:
    attention, y = model.attentions[-1], model.cfg.y_slot
    from_y_to_y = torch.einsum("hd,hd->h", attention.W_V[:, y], attention.W_O[:, :, y])
    # The y-slot holds y minus the prediction, and η/n stands before the sum: so η = 1 is the layer's own scale.
    A = -(prompts.n_points - 1) * torch.einsum("h,hid,hjd->ij", from_y_to_y, attention.W_Q, attention.W_K)
    query, keys = stream.features[:, -1], stream.features[:, :-1]
    return torch.einsum("bi,ij,bnj,bn->b", query, A, keys, (prompts.ys - stream.starts)[:, :-1])


STEPS: dict[str, tuple[str, Step]] = {
    "tokens as they are": (
        "y_j is the y-slot of a token and its features are all other entries, as in the frozen twin",
        _as_they_are,
    ),
    "from the start": (
        "features φ(x) are what the layers make of x alone, and the step is from their own first guess ŷ_0(x), so that "
        "an example adds (y_j − ŷ_0(x_j)) φ(x_j)·φ(x_q)",
        _from_start,
    ),
    "preconditioned": ("the same with the layer's own W_QK between features", _preconditioned),
}
"""Ways to read one gradient step on learned features, and what they say; each has η alone as free scalar."""


def read_stream(model: HookedRegressor, prompts: Prompts) -> Stream:
    """What the last attention layer reads, with gradients if they are enabled."""
    last = f"blocks.{model.cfg.n_layers - 1}."
    name, before = last + ("ln1.hook_normalized" if model.cfg.layer_norm else "hook_resid_pre"), last + "hook_resid_pre"

    def run(ys: Float[Tensor, "batch n_points"]) -> dict[str, Tensor]:
        held: dict[str, Tensor] = {}

        def keep(resid: Tensor, hook: HookPoint) -> None:
            held[str(hook.name)] = resid

        with model.hooks(fwd_hooks=[(each, keep) for each in {name, before}]):
            model(prompts.xs, ys)
        return held

    without_y = run(torch.zeros_like(prompts.ys))
    return Stream(run(prompts.ys)[name], without_y[name], -without_y[before][..., model.cfg.y_slot])


def predictor(model: HookedRegressor, step: Step, eta: float) -> Predict:
    """ŷ_0(x_q) + (η/n) Σ_j of what each example adds."""

    def predict(prompts: Prompts) -> Float[Tensor, " batch"]:
        return torch.cat([_predict(model, step, eta, part) for part in prompts.split(BATCH)])

    return predict


def _predict(model: HookedRegressor, step: Step, eta: float, prompts: Prompts) -> Float[Tensor, " batch"]:
    stream = read_stream(model, prompts)
    return stream.starts[:, -1] + eta / (prompts.n_points - 1) * step(model, stream, prompts)


@torch.no_grad()
def best_eta(model: HookedRegressor, step: Step, prompts: Prompts) -> float:
    """η of least mean square error."""
    starts, ends = (predictor(model, step, eta)(prompts).double() for eta in (0.0, 1.0))
    moved = ends - starts
    return (moved @ (prompts.ys[:, -1].double() - starts) / moved.square().sum().clamp(min=1e-300)).item()


def _others(model: HookedRegressor, stream: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_features"]:
    """All entries of the stream but the y-slot."""
    y = model.cfg.y_slot
    return torch.cat([stream[..., :y], stream[..., y + 1 :]], dim=-1)
