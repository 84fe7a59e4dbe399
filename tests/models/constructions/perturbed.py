"""Weights that are a little off, as trained ones are."""

import torch

from mesascope.models import HookedRegressor
from mesascope.models.streams import generator


@torch.no_grad()
def perturbed(model: HookedRegressor, eps: float, seed: int = 0) -> HookedRegressor:
    """Each factor of each head, and each other matrix, off by normal noise of eps of its size."""
    other = HookedRegressor(model.cfg).to(next(model.parameters()).dtype)
    other.load_state_dict(model.state_dict())
    rng = generator(seed, "perturbed")
    factors = [
        getattr(attention, name)[head]
        for attention in other.attentions
        for name in ("W_Q", "W_K", "W_V", "W_O")
        for head in range(attention.n_heads)
    ]
    for weight in factors + [w for name, w in other.named_parameters() if ".attn." not in name and w.ndim == 2]:
        noise = torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
        weight.add_(eps * weight.norm() * noise / noise.norm())
    return other
