"""Loss on the way from a model's weights to a construction's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.analyses.side_checks.agreement import EXACT, N_BLOCKS, Predict, at_the_query, estimate
from mesascope.analyses.side_checks.construction import with_heads
from mesascope.models import HookedRegressor, MesascopeError, Prompts
from mesascope.models.attention import Attention, LinearAttention
from mesascope.models.constructions.assembly import Head
from mesascope.probes import Estimate, TokenBasis, block_sums

WEIGHTS = tuple(step / 10 for step in range(11))
"""Shares of the construction; 0 is the model itself."""
ONE_HEAD = 0.01
"""Share of a layer's ‖T‖² that may be lost when its heads are summed into one."""
LEAST_MEAN = 1e-3
"""Smallest |m| to normalise by, relative to the root mean square of the entries of the x-block's diagonal."""


@dataclass(frozen=True)
class Path:
    """Losses of the mixtures of two networks."""

    weights: tuple[float, ...]
    """Share of the second."""
    losses: tuple[Estimate, ...]
    """E (ŷ − y)² / E y²."""
    barriers: tuple[Estimate, ...]
    """Each loss over the mixture of both ends' losses."""
    lost: float
    """The largest share of a layer's ‖T‖² that was left out when its heads were summed into one."""

    @property
    def barrier(self) -> Estimate:
        """The largest of them between the ends: above 1, something lies between the two networks."""
        return max(self.barriers[1:-1], key=lambda found: found.value)

    @property
    def halfway(self) -> Estimate:
        """That of the 50/50 mixture."""
        return self.barriers[self.weights.index(0.5)]

    def data(self) -> dict[str, Any]:
        """Every number."""
        return {
            "weights": list(self.weights),
            "losses": [as_json(loss) for loss in self.losses],
            "barriers": [as_json(found) for found in self.barriers],
            "lost": self.lost,
        }


def interpolate(
    model: HookedRegressor, construction: HookedRegressor, bases: Mapping[int, TokenBasis], prompts: Prompts
) -> Path:
    """Mix both networks' attention layers, (1 − t) of the one and t of the other, and look at the loss on the way.

    Weights cannot be mixed as they are: maps of GL(d_head) within W_Q W_Kᵀ or W_V W_O, the scale between both, their
    signs and the order of heads change no output, but every mixture. So both networks are brought to one gauge first.
    In each layer the heads are summed into one, the product OV ⊗ QK nearest to T = Σ_h OV_h ⊗ QK_h, which is exact for
    one head. The scale between its two products is fixed by m, the mean diagonal of QK between the x of tokens: QK/m
    and m·OV. These products are mixed, and factored again by singular values. Everything else (read-in, MLPs, layers
    with softmax) must be the same in both, and stays.

    Args:
        model: At t = 0.
        construction: At t = 1; a model of the same architecture.
        bases: The slots of each attention layer's tokens.
        prompts: Where the loss is measured.

    Raises:
        MesascopeError: The networks differ in more than linear attention, it has biases, no single head can stand for
            all of a layer, or m is zero.

    Source: von Oswald et al. (2023), figure 2 and its code; departures: it mixes 50/50, and normalises the trained
    network alone, since the m of its constructions is 1. Barriers: Frankle et al. (2020), section 2, as a ratio.
    """
    if _shape(model) != _shape(construction):
        raise MesascopeError(
            "the construction has another architecture than the model, so that their weights cannot be mixed; give "
            "one with as many layers and the same residual stream"
        )
    _check_rest(model, construction)
    layers = [layer for layer, block in enumerate(model.blocks) if type(block.attn) is LinearAttention]
    ends = [{layer: normalised_head(each, layer, bases[layer]) for layer in layers} for each in (model, construction)]
    lost = max((share for end in ends for _, share in end.values()), default=0.0)

    def mixed(t: float) -> Predict:
        pairs = {layer: (ends[0][layer][0], ends[1][layer][0]) for layer in layers}
        heads = {k: Head((1 - t) * a.QK + t * b.QK, (1 - t) * a.OV + t * b.OV) for k, (a, b) in pairs.items()}
        return at_the_query(with_heads(model, heads))

    return _along(mixed, prompts, lost)


def _check_rest(model: HookedRegressor, construction: HookedRegressor) -> None:
    linear = tuple(f"blocks.{k}.attn." for k, block in enumerate(model.blocks) if type(block.attn) is LinearAttention)
    theirs = dict(construction.named_parameters())
    for name, weight in model.named_parameters():
        if not name.startswith(linear) and not torch.equal(weight, theirs[name].to(weight)):
            raise MesascopeError(
                f"the construction differs from the model in {name} too, and outside of linear attention weights mix "
                "in no gauge-free way; give one that differs in attention alone"
            )


@torch.no_grad()
def _along(mixed: Callable[[float], Predict], prompts: Prompts, lost: float) -> Path:
    ys = prompts.ys[:, -1].double()
    errors = [(mixed(t)(prompts).double() - ys).square() for t in WEIGHTS]
    sums = block_sums(torch.stack([ys.square(), *errors], dim=1).cpu(), min(N_BLOCKS, len(ys)))
    losses = tuple(estimate(lambda s: s[1] / s[0], sums[:, [0, 1 + index]]) for index in range(len(WEIGHTS)))
    barriers = tuple(_over_chord(sums[:, [0, 1 + index, 1, -1]], t) for index, t in enumerate(WEIGHTS))
    return Path(WEIGHTS, losses, barriers, lost)


def _over_chord(sums: Float[Tensor, "n_blocks 4"], t: float) -> Estimate:
    """A loss over (1 − t) times the first and t times the last; 1 where all of them are rounding."""

    def ratio(s: Float[Tensor, " 4"]) -> Tensor:
        floor = EXACT * s[0]
        return s[1].clamp(min=floor) / ((1 - t) * s[2] + t * s[3]).clamp(min=floor)

    return estimate(ratio, sums)


def normalised_head(model: HookedRegressor, layer: int, basis: TokenBasis) -> tuple[Head, float]:
    """One layer as a single head with m = 1, and the share of ‖T‖² that it cannot hold.

    Raises:
        MesascopeError: It cannot hold enough of it, m is zero, or there are biases.
    """
    attention = cast(Attention, model.blocks[layer].attn)
    if any(bias is not None and bias.any() for bias in (attention.qkv_bias, attention.out_bias)):
        raise MesascopeError(
            f"attention of layer {layer + 1} has biases, which mix in no gauge-free way; leave them out"
        )
    head, lost = one_head(attention)
    if lost > ONE_HEAD:
        raise MesascopeError(
            f"the {attention.n_heads} heads of layer {layer + 1} do not sum to one: {lost:.2g} of its squared norm "
            f"would be lost, expected at most {ONE_HEAD}; there is no way to mix it with a construction of one head"
        )
    query, key = basis.query.only("x").directions.to(head.QK), basis.key.only("x").directions.to(head.QK)
    diagonal = torch.einsum("id,de,ie->i", query, head.QK, key)
    m, size = diagonal.mean(), diagonal.square().mean().sqrt()
    if not m.abs() > LEAST_MEAN * size:
        raise MesascopeError(f"the x-block of W_QK in layer {layer + 1} has a mean diagonal of zero to normalise by")
    return Head(head.QK / m, m * head.OV), lost


def one_head(attention: Attention) -> tuple[Head, float]:
    """OV ⊗ QK nearest to T = Σ_h OV_h ⊗ QK_h, and the share of ‖T‖² that is left.

    T as a matrix from entries of QK to those of OV is Σ_h vec(OV_h) vec(QK_h)ᵀ, of which this is the first singular
    pair: two thin QR factors and an SVD between heads.
    """
    W_Q, W_K, W_V, W_O = (w.detach().double() for w in (attention.W_Q, attention.W_K, attention.W_V, attention.W_O))
    QK, OV = W_Q @ W_K.mT, W_V @ W_O
    (Q_of_OV, R_of_OV), (Q_of_QK, R_of_QK) = (torch.linalg.qr(products.flatten(1).mT) for products in (OV, QK))
    U, S, Vh = torch.linalg.svd(R_of_OV @ R_of_QK.mT)
    total = S.square().sum()
    lost = (1 - S[0].square() / total).clamp(min=0.0).item() if total > 0 else 0.0
    best_OV = (S[0] * Q_of_OV @ U[:, 0]).reshape(OV.shape[1:])
    return Head((Q_of_QK @ Vh[0]).reshape(QK.shape[1:]), best_OV), lost


def _shape(model: HookedRegressor) -> dict[str, Any]:
    """What must be the same in two networks whose layers are mixed; how wide and many heads are does not matter."""
    free = {"n_heads", "d_head", "n_points", "init_scale", "attention_bias", "mlp_bias"}
    return {name: value for name, value in model.cfg.model_dump().items() if name not in free}
