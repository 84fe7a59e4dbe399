"""The construction that was matched, as a model that runs."""

from collections.abc import Mapping
from itertools import product
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.matching.families import COPY
from mesascope.analyses.matching.layer_match import LayerMatch
from mesascope.analyses.matching.matching import Matching, own_bases
from mesascope.analyses.matching.whole import constructions_of
from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor, MesascopeError
from mesascope.models.attention import Attention, LinearAttention
from mesascope.models.constructions.assembly import Head
from mesascope.probes import TokenBasis, reachable

ROUNDING = 1e-12
"""Singular values of a product below this part of the largest are rounding."""


def constructed(scope: Scope, match: Matching) -> HookedRegressor:
    """The construction that was matched to all weights at once, or else a copy of the model, layer by layer.

    There, every layer becomes the nearest member of the family that it was named after. Its OV and QK, with the scalars
    that were recovered from the weights, stand between the slots of tokens; entries that reach no output are zero. A
    layer that copies neighbours stays the model's own: behind a softmax the scale of its scores is no free scalar, and
    the member that is nearest in direction has none.

    Args:
        scope: The model.
        match: What `match_weights(scope)` found.

    Raises:
        MesascopeError: No family holds all layers, the match is of another model, attention is not linear, or the
            construction needs more heads than there are.
    """
    model, whole = scope.hooked, match.whole
    if whole is not None and whole.named:
        built = next(found for found in constructions_of(model.cfg) if found.name == whole.name).build(whole.scalar)
        return built.to(next(model.parameters()))
    if match.family is None:
        raise MesascopeError(
            f"no construction was matched to {scope.source} ({match.verdict}), so that there is none to run; hold it "
            "against a model of your own instead, such as check_construction(scope, gradient_descent(...))"
        )
    layers = [layer for layer, block in enumerate(model.blocks) if isinstance(block.attn, Attention)]
    if len(layers) != len(match.layers):
        raise MesascopeError(
            f"{len(match.layers)} layers were matched but {scope.source} has {len(layers)} with attention; give the "
            "match_weights of this scope"
        )
    bases = own_bases(scope)
    heads = {
        layer: _nearest(found, bases[layer], reachable(bases[layer], model, layer), model.cfg.damping)
        for layer, found in zip(layers, match.layers, strict=True)
        if found.verdict != COPY
    }
    return with_heads(model, heads)


@torch.no_grad()
def with_heads(model: HookedRegressor, heads: Mapping[int, Head]) -> HookedRegressor:
    """A copy of a model whose attention does in some layers what one head, given by its two products, does.

    The products are factored by singular values. Where a head of the model is too narrow for them, they are spread
    over several, since only Σ_h OV_h ⊗ QK_h counts.

    Raises:
        MesascopeError: Attention of such a layer is not linear, or has not heads enough.
    """
    changed = copied(model)
    for layer, head in heads.items():
        attention = cast(Attention, changed.blocks[layer].attn)
        if type(attention) is not LinearAttention:
            kind = model.cfg.attentions[layer]
            raise MesascopeError(
                f"layer {layer + 1} has {kind} attention, and the constructions of gradient descent run in linear "
                "attention alone, so that its behaviour cannot be held against one; compare predictions by identify"
            )
        _write(attention, head, layer)
    return changed


def copied(model: HookedRegressor) -> HookedRegressor:
    """The same weights in a model of its own."""
    copy = HookedRegressor(model.cfg, model.seed).to(next(model.parameters()))
    copy.load_state_dict(model.state_dict())
    return copy


def _write(attention: LinearAttention, head: Head, layer: int) -> None:
    pairs = list(product(_factors(head.OV, attention.d_head), _factors(head.QK, attention.d_head)))
    if len(pairs) > attention.n_heads:
        raise MesascopeError(
            f"the construction of layer {layer + 1} needs {len(pairs)} heads of width {attention.d_head}, and there "
            f"are {attention.n_heads}; it runs in no model of this architecture"
        )
    for parameter in attention.parameters():
        parameter.zero_()
    for index, ((values, outputs), (queries, keys)) in enumerate(pairs):
        width = queries.shape[1]
        attention.W_Q[index, :, :width], attention.W_K[index, :, :width] = queries, keys.mT
        width = values.shape[1]
        attention.W_V[index, :, :width], attention.W_O[index, :width] = values, outputs


def _factors(matrix: Float[Tensor, "rows cols"], width: int) -> list[tuple[Tensor, Tensor]]:
    """Products A B of at most some width that add up to a matrix, with singular values shared evenly."""
    U, S, Vh = torch.linalg.svd(matrix.double())
    rank = int((S > ROUNDING * S[0]).sum())
    root = S[:rank].sqrt()
    left, right = U[:, :rank] * root, root[:, None] * Vh[:rank]
    return list(zip(left.split(width, dim=1), right.split(width), strict=True)) if rank else []


def _nearest(found: LayerMatch, basis: TokenBasis, seen: TokenBasis, damping: float) -> Head:
    """From slots that can reach the output to the residual stream."""
    assert found.best is not None, "a layer of zeros has no family"
    near = found.best.nearest
    QK = seen.query.dual(basis.query) @ near.QK.double() @ seen.key.dual(basis.key).mT
    OV = seen.value.dual(basis.value) @ near.OV.double() @ seen.write.dual(basis.write).mT
    return Head(QK, OV / damping)  # what was matched is what the layer adds
