"""How much a layer's output at a token depends on the token of the same point, on itself and on the others."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.inputs import random_bases
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor
from mesascope.models.streams import generator
from mesascope.probes.ablation import attention_layers
from mesascope.probes.direct_effects import Hooks
from mesascope.probes.token_roles import TokenRoles


def token_derivatives(
    model: HookedRegressor, prompts: Prompts, layer: int | None = None, n_directions: int | None = None, seed: int = 0
) -> Float[Tensor, "batch pos pos"]:
    """‖∂ output at token t/∂ input token s‖, Frobenius, for every prompt; float64.

    The output is the stream behind a layer, by default the first with heads; the input is the tokens before they are
    read in. One forward derivative for every direction of a token, of all tokens at once.

    Args:
        model: A model with heads.
        prompts: Few: each costs as many runs as it has tokens times entries in a token.
        layer: Behind which layer.
        n_directions: Random orthogonal directions of a token to move along; by default, or where it has no more
            entries, all of them, which is exact. Fewer leave the squared norm unbiased.
        seed: Of those directions.

    Source: von Oswald et al. (2023), section 5 and figure 6.
    """
    layer = attention_layers(model)[0] if layer is None else layer
    copy = HookedRegressor(model.cfg, model.seed).to(prompts.xs.device, torch.float64)
    copy.load_state_dict(model.state_dict())
    # Listening materialises attention, whose fused kernel has no forward derivative.
    listening: Hooks = [(f"blocks.{at}.attn.hook_pattern", lambda pattern, hook: None) for at in attention_layers(copy)]

    def behind(tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        resid = copy.embed(tokens)
        for block in copy.blocks[: layer + 1]:
            resid = block(resid)
        return resid

    prompts = prompts.to(torch.float64)
    tokens = model.cfg.tokens.tokens(prompts.xs, prompts.ys)
    directions = _directions(tokens.shape[-1], n_directions, seed).to(tokens)
    with torch.no_grad(), copy.hooks(fwd_hooks=listening):
        return torch.stack([_norms(behind, prompt, directions) for prompt in tokens])


def _directions(d_token: int, n: int | None, seed: int) -> Float[Tensor, "n d_token"]:
    if n is None or n >= d_token:
        return torch.eye(d_token, dtype=torch.float64)
    rotation = random_bases(1, d_token, generator(seed, "directions"))[0]
    return rotation[:n] * (d_token / n) ** 0.5


def _norms(
    behind: Callable[[Tensor], Tensor], prompt: Float[Tensor, "pos d_token"], directions: Float[Tensor, "n d_token"]
) -> Float[Tensor, "pos pos"]:
    """Of one prompt: copy number s of it moves its token s, one direction after another."""
    n = len(prompt)
    tokens, squares = prompt.expand(n, n, -1).contiguous(), prompt.new_zeros(n, n)
    for direction in directions:
        tangent = torch.zeros_like(tokens)
        tangent[range(n), range(n)] = direction
        change = torch.func.jvp(behind, (tokens,), (tangent,))[1]
        squares += change.square().sum(-1)  # [s, t]
    return squares.mT.sqrt()


@dataclass(frozen=True)
class CopyDerivatives:
    """The mean of the norms over tokens, for every prompt."""

    previous: Float[Tensor, " batch"]
    """Of y's token by its own x, which stands before it."""
    following: Float[Tensor, " batch"]
    """Of x's token by its own y, which stands behind it; zero under a causal mask."""
    itself: Float[Tensor, " batch"]
    others: Float[Tensor, " batch"]
    """By any other token, the neighbour left out."""


def copy_derivatives(norms: Float[Tensor, "batch pos pos"], roles: TokenRoles) -> CopyDerivatives:
    """Norms by what the tokens are to each other.

    Departure from von Oswald et al. (2023): the neighbour is none of the others, and norms are taken for each prompt
    and then averaged; the norm of a mean derivative vanishes where its sign hangs on the prompt.

    Args:
        norms: See `token_derivatives`.
        roles: Of tokens that hold x or y, not both.
    """
    n = roles.n_pairs
    rows, columns = list(roles.y), list(roles.x[:n])
    rest = torch.ones(norms.shape[1:], dtype=torch.bool, device=norms.device).fill_diagonal_(False)
    rest[rows, columns] = rest[columns, rows] = False
    # What a token cannot see is not a weak dependence but none: it is left out of the mean.
    rest &= (norms > 0).any(0)
    return CopyDerivatives(
        norms[:, rows, columns].mean(1),
        norms[:, columns, rows].mean(1),
        norms.diagonal(dim1=1, dim2=2).mean(1),
        (norms * rest).sum((1, 2)) / rest.sum().clamp(min=1),
    )
