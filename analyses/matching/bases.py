"""Where the tokens of a model hold x and y where they come apart: fitted to its activations."""

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.scope import Scope
from mesascope.models import MesascopeError
from mesascope.models.attention import Attention
from mesascope.probes import LinearReadout, Moments, Slots, TokenBasis, capture

N_POINTS = 16_000
"""Points of all prompts together on which bases are fitted."""
SIDES = (0, 1)
"""Positions of the tokens of x and of y, modulo 2."""


class Encoding:
    """How a unit of each slot appears in the residual stream: the regression of that on the slots, streamed.

    Only sums with a slot in them are kept, not the stream's own moments.
    """

    def __init__(self, n_slots: int, d_model: int, device: torch.device):
        self.gram = torch.zeros(n_slots + 1, n_slots + 1, dtype=torch.float64, device=device)
        self.cross = torch.zeros(n_slots + 1, d_model, dtype=torch.float64, device=device)
        self.squares = torch.zeros(d_model, dtype=torch.float64, device=device)

    def update(self, slots: Float[Tensor, "*batch n_slots"], resid: Float[Tensor, "*batch d_model"]) -> None:
        """Add a batch."""
        given = torch.nn.functional.pad(slots.flatten(0, -2).double(), (0, 1), value=1.0)
        held = resid.flatten(0, -2).double()
        self.gram += given.mT @ given
        self.cross += given.mT @ held
        self.squares += held.square().sum(0)

    @property
    def directions(self) -> Float[Tensor, "n_slots d_model"]:
        """What a unit of each slot adds."""
        return torch.linalg.lstsq(self.gram, self.cross).solution[:-1]

    def explained(self, slots: slice) -> float:
        """The part of the stream's variance that some slots alone explain, whatever the others hold."""
        variance = (self.squares - self.cross[-1] ** 2 / self.gram[-1, -1]).sum()
        inverse = torch.linalg.pinv(self.gram, hermitian=True)[:-1, :-1][slots, slots]
        added = self.directions[slots]
        return ((added * torch.linalg.solve(inverse, added)).sum() / variance.clamp(min=1e-300)).item()


def fit_token_bases(scope: Scope, n_points: int = N_POINTS) -> dict[int, TokenBasis]:
    """The slots of each attention layer of a model that reads x and y in tokens of their own.

    Queries are the tokens of x; keys and values those of x or of y, whichever hold the other one too, since it was
    copied. What a unit of x or y adds to what attention reads there is the regression of that on (x, y). What is
    written to x is read off by the pseudoinverse, what is written to y by the regression of y on the stream behind the
    layer where the model predicts, or by the model's own read-out where that is a slot.

    Args:
        scope: A model with interleaved or separate tokens.
        n_points: Points, of all prompts together, to fit on.

    Raises:
        MesascopeError: Its tokens hold both (then `probes.token_basis` says where), or neither.
    """
    model, task = scope.hooked, scope.regression
    cfg = model.cfg
    if cfg.layout not in ("interleaved", "separate") or not model.attentions:
        raise MesascopeError(
            f"the tokens of this model ({cfg.layout}, {cfg.block}) are no x and y in turn, so that no basis can be "
            "fitted; attach to a transformer on interleaved or separate tokens"
        )
    layers = [layer for layer, block in enumerate(model.blocks) if isinstance(block.attn, Attention)]
    stream = "ln1.hook_normalized" if cfg.layer_norm else "hook_resid_pre"
    read = {layer: f"blocks.{layer}.{stream}" for layer in layers}
    behind = {layer: f"blocks.{layer}.hook_resid_post" for layer in layers}
    held = {(layer, side): Encoding(cfg.n_dims + 1, cfg.d_model, scope.device) for layer in layers for side in SIDES}
    told = {layer: Moments.zeros(cfg.d_model, 1, (), scope.device) for layer in layers}
    n_prompts = max(1, n_points // task.n_points)
    for batch in capture(model, scope.batches(n_prompts, "bases"), [*read.values(), *behind.values()]):
        xs, ys = batch.prompts.xs, batch.prompts.ys[..., None]
        for layer in layers:
            resid = batch.activations[read[layer]]
            n_pairs = resid[:, 1::2].shape[1]  # where the last point is the query, it has no token of y
            for side in SIDES:
                held[layer, side].update(torch.cat([xs, ys], dim=-1)[:, :n_pairs], resid[:, side : 2 * n_pairs : 2])
            predicts = batch.activations[behind[layer]][:, model.read_positions(task.n_points)]
            told[layer].update(predicts.flatten(0, 1), ys[:, list(model.read_points(task.n_points))].flatten(0, 1))
    return {layer: _basis(scope, [held[layer, side] for side in SIDES], told[layer]) for layer in layers}


def _basis(scope: Scope, sides: list[Encoding], told: Moments) -> TokenBasis:
    cfg = scope.hooked.cfg
    names = tuple(("x", index) for index in range(cfg.n_dims))
    x, y = slice(0, cfg.n_dims), slice(cfg.n_dims, None)
    # The token of x holds y, or that of y holds x: whichever explains more there.
    keys = max(zip(sides, (y, x), strict=True), key=lambda side: side[0].explained(side[1]))[0]
    both = Slots((*names, ("y", 0)), keys.directions)
    off = torch.linalg.pinv(both.directions).mT
    if cfg.read_out == "slots":
        off[-1] = torch.nn.functional.one_hot(torch.tensor(cfg.y_slot), cfg.d_model)
    else:
        off[-1] = LinearReadout().fit_moments(told).coef_[:, 0]
    return TokenBasis(Slots(names, sides[0].directions[x]), both, both, Slots(both.names, off))
