"""A new last layer of linear self-attention, by alternating least squares on frozen earlier ones."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from mesascope.models.training.small_form import Grams, Maps, run_layers


def fit_new_layer(
    maps: Maps,
    grams: Grams,
    w: Float[Tensor, "batch n_dims"],
    covariance: Float[Tensor, "n_dims n_dims"],
    rng: Generator,
    n_starts: int,
    n_rounds: int,
) -> Float[Tensor, "2 D D"]:
    """W_PV (only its last row is not zero) and W_KQ that lower the loss behind the given layers.

    ŵ of the whole is linear in that row v for a given W_KQ, and linear in W_KQ for a given v: each is solved in turn,
    from random W_KQ. Of several starts the lowest loss on these contexts is kept. A gradient from v = 0 would leave a
    near-saddle only after many steps.
    """
    Pi, G, _ = run_layers(maps, grams)
    D = G.shape[-1]
    Pi_x, target = Pi[:, :, :-1], w + Pi[:, -1, :-1]  # to fit: −vᵀ G W_KQ Π_x = target
    root = torch.linalg.cholesky(covariance)  # residuals count by Σ: |rootᵀ r|² = rᵀ Σ r
    Pi_x, target = Pi_x @ root, target @ root
    PiPi, Pi_target = (Pi_x @ Pi_x.mT).flatten(1), torch.einsum("bij,bj->bi", Pi_x, target)
    fits: list[tuple[float, Tensor]] = []
    for _ in range(n_starts):
        W_KQ = torch.randn(D, D, generator=rng, dtype=torch.float64).to(G)
        v = torch.zeros(D, dtype=G.dtype, device=G.device)
        for _ in range(n_rounds):
            A = -(G @ (W_KQ @ Pi_x)).mT.reshape(-1, D)
            v = _ridge(A.T @ A, A.T @ target.flatten())
            u = torch.einsum("bij,j->bi", G, v)
            uu = (u[:, :, None] * u[:, None]).flatten(1)
            normal = (uu.T @ PiPi).view(D, D, D, D).permute(0, 2, 1, 3).reshape(D * D, D * D)
            W_KQ = _ridge(normal, -(u.T @ Pi_target).flatten()).view(D, D)
        loss = ((u[:, None] @ W_KQ @ Pi_x)[:, 0] + target).square().sum(-1).mean().item()
        balance = (v.norm() / W_KQ.norm()).sqrt()
        layer = torch.zeros(2, D, D, dtype=G.dtype, device=G.device)
        layer[0, -1], layer[1] = v / balance, W_KQ * balance
        fits.append((loss, layer))
    return min(fits, key=lambda fit: fit[0])[1]


def _ridge(A: Float[Tensor, "p p"], b: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
    # W_KQ has directions that no context sees (the query's own y is zero): they are left at zero.
    return torch.linalg.solve(A + 1e-6 * A.diagonal().mean() * torch.eye(len(A)).to(A), b)
