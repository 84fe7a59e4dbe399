"""The same function in other weights: a model in a random gauge."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from mesascope.models.architecture import RegressorConfig
from mesascope.models.attention import Attention, LinearAttention, ReluAttention
from mesascope.models.errors import MesascopeError
from mesascope.models.gradient_step import GradientStep
from mesascope.models.inputs import random_bases
from mesascope.models.regressor import HookedRegressor
from mesascope.models.streams import generator

STRETCH = 10**0.5
"""Gauges stretch no direction by more than this and shrink none by more, so that their condition number is ≤ 10."""

READS = ("attn.qkv_weight", "mlp.W_in", "unembed.W_U")
"""Weights whose rows are entries of the residual stream."""
WRITES = ("embed.W_E", "embed.b_E", "embed.W_pos", "attn.out_weight", "attn.out_bias", "mlp.W_out", "mlp.b_out")
"""Weights whose columns are."""


@torch.no_grad()
def regauge(model: HookedRegressor, seed: int) -> HookedRegressor:
    """A new model with other weights and the same predictions, up to rounding.

    What no prediction depends on is drawn at random: a map of GL(d_head) between W_Q and W_K and one between W_V and
    W_O of each head, where attention has no softmax also a scale between the two products (with either sign if it is
    linear), the order of the heads, and a rotation of the residual stream. That last one needs an affine read-in and
    read-out, and neither norm nor clip; the columns of a code beside the tokens stay. `GradientStep` layers stay.

    How much rounding is, the model decides: 1e-15 of the predictions for gradient descent, 3e-10 for 12 steps of Newton
    in the examples' tokens (float64, d=20).

    Args:
        model: A transformer.
        seed: Of what is drawn.

    Raises:
        MesascopeError: Nothing of the model may be changed.

    Source: Elhage et al. (2021) for heads and their products.
    """
    cfg, rng = model.cfg, generator(seed, "gauge")
    free = [attention for attention in model.attentions if not isinstance(attention, GradientStep)]
    if not free and not has_free_basis(cfg):
        raise MesascopeError(
            f"this model (block={cfg.block!r}, attention={cfg.attention!r}) has neither heads nor a basis of its "
            "residual stream that may be changed; take a transformer with trained attention"
        )
    changed = HookedRegressor(cfg, model.seed).double()  # so that each weight is rounded once, at the end
    changed.load_state_dict(model.state_dict())
    for attention in changed.attentions[: 1 if cfg.tied else None]:
        if not isinstance(attention, GradientStep):
            _regauge_heads(attention, rng)
    if has_free_basis(cfg):
        _rotate(changed, rng)
    return changed.to(next(model.parameters()))


def _regauge_heads(attention: Attention, rng: Generator) -> None:
    """On rows: q becomes c q G, k becomes k G⁻ᵀ, v becomes v H, and W_O H⁻¹ W_O/c; then the heads change places."""
    n_heads, d_head = attention.n_heads, attention.d_head
    G, H, c = _invertible(n_heads, d_head, rng), _invertible(n_heads, d_head, rng), _scales(attention, rng)
    order = torch.randperm(n_heads, generator=rng)
    maps = (c * G, torch.linalg.inv(G).mT, H)
    for W, by in zip((attention.W_Q, attention.W_K, attention.W_V), maps, strict=True):
        W.copy_((W @ by)[order])
    if attention.qkv_bias is not None:
        for bias, by in zip(attention.qkv_bias.view(3, n_heads, 1, d_head), maps, strict=True):
            bias.copy_((bias @ by)[order])
    attention.W_O.copy_((torch.linalg.inv(H) @ attention.W_O / c)[order])


def _invertible(n: int, size: int, rng: Generator) -> Float[Tensor, "n size size"]:
    """Random maps of a bounded condition number: bases, stretched log-uniformly."""
    stretches = STRETCH ** (2 * torch.rand(n, 1, size, generator=rng, dtype=torch.float64) - 1)
    return (random_bases(n, size, rng) * stretches) @ random_bases(n, size, rng)


def _scales(attention: Attention, rng: Generator) -> Float[Tensor, "n_heads 1 1"]:
    """What a head's scores may be multiplied by, if its output is divided by it."""
    scales = STRETCH ** (2 * torch.rand(attention.n_heads, 1, 1, generator=rng, dtype=torch.float64) - 1)
    if not isinstance(attention, LinearAttention):
        return torch.ones_like(scales)
    if isinstance(attention, ReluAttention):
        return scales
    return scales * (2 * torch.randint(2, scales.shape, generator=rng) - 1)


def has_free_basis(cfg: RegressorConfig) -> bool:
    """Whether nothing but maps reads and writes the residual stream."""
    return (
        cfg.block == "transformer"
        and (cfg.read_in, cfg.read_out) == ("affine", "affine")
        and not cfg.layer_norm
        and cfg.clip is None
        and "gradient_step" not in cfg.attentions
    )


def _rotate(model: HookedRegressor, rng: Generator) -> None:
    """Every h becomes h R, with R the identity on the columns of a code beside the tokens."""
    cfg = model.cfg
    R = torch.block_diag(random_bases(1, cfg.d_model - cfg.d_position, rng)[0], torch.eye(cfg.d_position).double())
    for name, weight in model.named_parameters():  # those of tied layers come once
        if name.endswith(READS):
            weight.copy_(R.T @ weight)
        elif name.endswith(WRITES):
            width = weight.shape[-1]  # a read-in leaves the code's columns out
            weight.copy_(weight @ R[:width, :width])
