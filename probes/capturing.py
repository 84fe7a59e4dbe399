"""Stream named activations batch by batch; nothing is kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from mesascope.models.hooks import HookNames, resolve_hooks
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor


@dataclass(frozen=True)
class Captured:
    """One batch: what went in, what came out, and the activations asked for."""

    prompts: Prompts
    preds: Float[Tensor, "batch n_read *d_out"]
    activations: dict[str, Tensor]
    """By hook name, in the order of the forward pass."""


def capture(
    model: HookedRegressor, batches: Iterable[Prompts], names: HookNames, *, read_only: bool = False
) -> Iterator[Captured]:
    """Run a model over batches and hand on the named activations of each.

    Memory does not grow with the number of batches: a batch's activations live until the next one is asked for.

    Args:
        model: A hooked model.
        batches: Prompts, on the model's device.
        names: A hook name, a glob such as `"*hook_resid_post"`, several of them, or a predicate.
        read_only: Keep only the token positions at which the model predicts. For hooks of shape
            `[batch, pos, …]`; attention patterns and scores have their positions elsewhere.

    Raises:
        MesascopeError: A name matches no hook (at once, not at the first batch).
    """
    return _stream(model, batches, resolve_hooks(model, names), read_only)


def _stream(
    model: HookedRegressor, batches: Iterable[Prompts], names: list[str], read_only: bool
) -> Iterator[Captured]:
    for prompts in batches:
        activations: dict[str, Tensor] = {}
        positions = model.read_positions(prompts.n_points) if read_only else slice(None)

        def keep(
            tensor: Tensor,
            hook: HookPoint,
            positions: slice = positions,
            activations: dict[str, Tensor] = activations,
        ) -> None:
            assert hook.name is not None
            activations[hook.name] = tensor[:, positions]

        with torch.no_grad(), model.hooks(fwd_hooks=[(name, keep) for name in names]):
            preds = model(prompts.xs, prompts.ys)
        yield Captured(prompts, preds, activations)
