"""Two models of one architecture in one basis: the rotation that brings their weights together."""

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.attention import Attention
from mesascope.models.blocks import MLP
from mesascope.models.regressor import HookedRegressor
from mesascope.models.streams import generator
from mesascope.probes.operators import LayerOperator

N_ROUNDS, N_DRAWS, N_POLISHED = 3, 16, 20
"""Passes over the layers, vectors that a layer yields for each of its open sides in each, and steps of polishing."""

Vectors = Float[Tensor, "n d_model"]


def align(
    model: HookedRegressor, other: HookedRegressor, seed: int = 0, vanishing: float = 1e-5
) -> Float[Tensor, "d_model d_model"]:
    """The rotation R with h_other ≈ h_model R for every vector of the residual stream that both models' weights define.

    Read-in, positions and read-out are such vectors, and no gauge of the heads changes them. A layer's operator
    T = Σ_h OV_h ⊗ QK_h with three of its four sides closed by them leaves one more, and so does an MLP's product. What
    they yield in both models, layer after layer, is matched by Procrustes, each vector at length 1, so that free
    scalars hardly matter. Rounding grows on the way, so that whole operators are then matched, one side at a time with
    the others rotated. Directions that no weight defines stay free, and matter to no weight.

    Args:
        model: A model with affine read-in and read-out and no norm, such as a construction.
        other: One of the same architecture.
        seed: Of the combinations of vectors by which sides are closed.
        vanishing: Length, in units of what closed it, below which a vector is noise: all are matched at length 1. As
            small as the weights are exact; at 1e-5 weights that are 1% off may be turned the wrong way.
    """
    normalize = torch.nn.functional.normalize
    pair, rng = [normalize(outer_vectors(found)) for found in (model, other)], generator(seed, "alignment")
    given = pair[0].mT @ pair[1]
    layers = list(zip(layer_maps(model), layer_maps(other), strict=True))
    for _ in range(N_ROUNDS):
        for both in layers:
            mix = torch.randn(4, N_DRAWS, len(pair[0]), generator=rng, dtype=torch.float64)
            found = [_opened(tensor, mix.to(known) @ known) for tensor, known in zip(both, pair, strict=True)]
            clear = torch.stack([vectors.norm(dim=1) > vanishing for vectors in found]).all(0)
            pair = [torch.cat([known, normalize(vectors[clear])]) for known, vectors in zip(pair, found, strict=True)]
    R = _rotation(pair[0].mT @ pair[1])
    for _ in range(N_POLISHED):
        R = _rotation(given + sum(_matched(one, two, R) for one, two in layers))
    return R


def _rotation(along: Float[Tensor, "d_model d_model"]) -> Float[Tensor, "d_model d_model"]:
    """The rotation nearest to a matrix."""
    U, _, Vh = torch.linalg.svd(along)
    return U @ Vh


def outer_vectors(model: HookedRegressor) -> Vectors:
    """Read-in, positions and read-out, and the columns of a code beside the tokens."""
    cfg, eye = model.cfg, torch.eye(model.cfg.d_model, dtype=torch.float64, device=next(model.parameters()).device)
    rows = [eye[cfg.d_model - cfg.d_position :]]
    for name, weight in model.named_parameters():
        if name in ("embed.W_E", "embed.W_pos", "unembed.W_U"):
            directions = weight.detach().double()
            directions = directions.mT if name == "unembed.W_U" else directions
            rows.append(torch.nn.functional.pad(directions, (0, cfg.d_model - directions.shape[1])))
    return torch.cat(rows)


def layer_maps(model: HookedRegressor) -> list[LayerOperator | Float[Tensor, "d_model d_model"]]:
    """Every layer's operator, and the product of every linear MLP, in the order of the forward pass."""
    found: list[LayerOperator | Tensor] = []
    for block in model.blocks:
        attention, mlp = getattr(block, "attn", None), getattr(block, "mlp", None)
        if isinstance(attention, Attention):
            found.append(LayerOperator.of(attention))
        if isinstance(mlp, MLP) and model.cfg.mlp_activation == "linear":
            found.append(mlp.W_in.detach().double() @ mlp.W_out.detach().double())
    return found


def _matched(
    mine: LayerOperator | Tensor, theirs: LayerOperator | Tensor, R: Tensor
) -> Float[Tensor, "d_model d_model"]:
    """Σ over sides of the product of both tensors over all other sides, mine rotated by R there."""
    if isinstance(mine, Tensor) or isinstance(theirs, Tensor):
        assert isinstance(mine, Tensor) and isinstance(theirs, Tensor)
        return (mine @ R @ theirs.mT + mine.mT @ R @ theirs) / (mine.norm() * theirs.norm()).clamp(min=1e-300)
    sides = [
        (getattr(mine, name), getattr(theirs, name)) if name != "W_O" else (mine.W_O.mT, theirs.W_O.mT)
        for name in ("W_Q", "W_K", "W_V", "W_O")
    ]
    query, key, value, write = (torch.einsum("hid,ij,gje->hgde", one, R, two) for one, two in sides)
    scores, outputs = ((query * key).sum((-2, -1)), (value * write).sum((-2, -1)))
    weights = [
        key * outputs[..., None, None],
        query * outputs[..., None, None],
        write * scores[..., None, None],
        value * scores[..., None, None],
    ]
    parts = [
        torch.einsum("hid,hgde,gje->ij", one, weight, two) for (one, two), weight in zip(sides, weights, strict=True)
    ]
    return torch.stack(parts).sum(0) / max(mine.norm * theirs.norm, 1e-300)


def _opened(tensor: LayerOperator | Tensor, closing: Float[Tensor, "4 n d_model"]) -> Float[Tensor, "n_opened d_model"]:
    """What is left open of a tensor whose other sides are closed, in units of the tensor and of what closes it."""
    u, v, w, z = torch.nn.functional.normalize(closing, dim=-1)
    if isinstance(tensor, Tensor):
        return torch.cat([w @ tensor, z @ tensor.mT]) / tensor.norm().clamp(min=1e-300)
    q, k, value, write = (
        torch.einsum("ni,hie->nhe", vectors, factor)
        for vectors, factor in ((u, tensor.W_Q), (v, tensor.W_K), (w, tensor.W_V), (z, tensor.W_O.mT))
    )
    scores, outputs = (q * k).sum(-1), (value * write).sum(-1)
    opened = [
        torch.einsum("hie,nhe,nh->ni", tensor.W_Q, k, outputs),
        torch.einsum("hie,nhe,nh->ni", tensor.W_K, q, outputs),
        torch.einsum("hie,nhe,nh->ni", tensor.W_V, write, scores),
        torch.einsum("hei,nhe,nh->ni", tensor.W_O, value, scores),
    ]
    return torch.cat(opened) / max(tensor.norm, 1e-300)
