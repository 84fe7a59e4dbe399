"""The exact small form of linear self-attention: no token is ever touched.

With keys and values from the context only, a linear layer sees the context through one matrix. On column vectors,
with E the context tokens (x_i, y_i) and G = EᵀE/n:

    M_l = W_PV,l G W_KQ,l        h ← (I + M_l) h        G ← (I + M_l) G (I + M_l)ᵀ
    Π = (I + M_L) … (I + M_1)    ŵ = −Π[last, :n_dims]

The prediction ŵ·x_q is linear in the query, so the query is marginalised exactly: loss = E (ŵ−w)ᵀ Σ (ŵ−w). A step
costs O(n_layers D³) a context, D = n_dims+1, whatever the number of points.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor

Maps = Float[Tensor, "n_layers 2 D D"]
"""W_PV and W_KQ of every layer."""
Grams = Float[Tensor, "batch D D"]


class Layer(NamedTuple):
    """What one layer does to a batch of contexts."""

    G: Grams
    """The context on its input."""
    Pi: Grams
    """The product of the layers before it."""
    GK: Grams
    """G W_KQ."""
    B: Grams
    """I + M."""


def context_grams(prompts: Prompts) -> Grams:
    """G = EᵀE/n over the context (all points but the last)."""
    tokens = torch.cat([prompts.xs, prompts.ys[..., None]], dim=-1)[:, :-1]
    return tokens.mT @ tokens / tokens.shape[1]


def run_layers(maps: Maps, grams: Grams) -> tuple[Grams, Grams, list[Layer]]:
    """Π and G behind the last layer, and what each layer did."""
    D = grams.shape[-1]
    eye = torch.eye(D, dtype=grams.dtype, device=grams.device)
    Pi, G, layers = eye.expand_as(grams), grams, []
    for W_PV, W_KQ in maps:
        GK = (G.reshape(-1, D) @ W_KQ).view_as(G)
        B = _left(W_PV, GK) + eye
        layers.append(Layer(G, Pi, GK, B))
        Pi, G = B @ Pi, B @ G @ B.mT
    return Pi, G, layers


def predicted_weights(maps: Maps, grams: Grams) -> Float[Tensor, "batch n_dims"]:
    """ŵ on every context."""
    return -run_layers(maps, grams)[0][:, -1, :-1]


def jacobian(
    maps: Maps, grams: Grams, cotangents: Float[Tensor, "batch k n_dims"]
) -> Float[Tensor, "batch k n_layers 2 D D"]:
    """Derivatives of cotangents · ŵ by every map, in one backward sweep."""
    n, k, d = cotangents.shape
    D = d + 1
    layers = run_layers(maps, grams)[2]
    J = torch.empty(n, k, len(maps), 2, D, D, dtype=grams.dtype, device=grams.device)
    d_Pi = torch.zeros(n, k, D, D, dtype=grams.dtype, device=grams.device)
    d_Pi[:, :, -1, :-1] = -cotangents
    for index in reversed(range(len(maps))):
        (W_PV, W_KQ), (G, Pi, GK, B) = maps[index], layers[index]
        d_M = d_Pi.reshape(n, k * D, D) @ Pi.mT
        J[:, :, index, 0] = (d_M @ GK.mT).view(n, k, D, D)
        Y = (d_M.view(n, k, D, D).mT.reshape(-1, D) @ W_PV).view(n, k, D, D)  # d_Mᵀ W_PV
        J[:, :, index, 1] = (Y.reshape(n, k * D, D) @ G).view(n, k, D, D).mT
        if index:
            # G of this layer is Π G_0 Πᵀ, so what it asks of G is asked of the Π before it.
            d_G = _left(W_KQ, Y)
            through_G = ((d_G + d_G.mT).reshape(n, k * D, D) @ (Pi @ grams)).view(n, k, D, D)
            d_Pi = B.mT[:, None] @ d_Pi + through_G
    return J


def _left(A: Float[Tensor, "D D"], X: Float[Tensor, "*batch D D"]) -> Float[Tensor, "*batch D D"]:
    """A X for one A and many X, as a single product."""
    return (X.mT.reshape(-1, A.shape[1]) @ A.T).view(X.mT.shape).mT


@torch.no_grad()
def write_products(model: HookedRegressor, maps: Maps, n_context: int) -> None:
    """Factor the products into W_Q, W_K, W_V, W_O, each pair balanced by an SVD.

    The hooked model sums over the context where the small form averages, so 1/n_context goes into W_V W_O; its maps
    act on rows, hence the transposes: W_Q W_Kᵀ = W_KQᵀ and W_V W_O = W_PVᵀ/n_context.
    """
    for attention, (PV, KQ) in zip(model.attentions, maps, strict=True):
        for product, left, right in [
            (KQ.T, attention.W_Q[0], attention.W_K[0].T),
            (PV.T / n_context, attention.W_V[0], attention.W_O[0]),
        ]:
            U, S, Vh = torch.linalg.svd(product.double())
            left.copy_(U * S.sqrt())
            right.copy_(S.sqrt()[:, None] * Vh)
