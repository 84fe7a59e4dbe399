"""Between tokens and the residual stream: an affine read-in and read-out, or the tokens themselves."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from mesascope.models.hooks import listened


class LayerNorm(nn.Module):
    """Layer norm with TransformerLens' hooks; one fused kernel unless `hook_scale` is listened to."""

    eps = 1e-5

    def __init__(self, d_model: int):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.ones(d_model)), nn.Parameter(torch.zeros(d_model))
        self.hook_scale, self.hook_normalized = HookPoint(), HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """(h − mean)/scale · w + b."""
        if not listened(self.hook_scale):
            return self.hook_normalized(F.layer_norm(resid, self.w.shape, self.w, self.b, self.eps))
        centred = resid - resid.mean(-1, keepdim=True)
        scale = self.hook_scale((centred.square().mean(-1, keepdim=True) + self.eps).sqrt())
        return self.hook_normalized(centred / scale * self.w + self.b)


class AffineReadIn(nn.Module):
    """tokens W_E + b_E + W_pos, positions learned."""

    def __init__(self, d_token: int, d_model: int, n_tokens: int):
        super().__init__()
        self.W_E, self.b_E = nn.Parameter(torch.zeros(d_token, d_model)), nn.Parameter(torch.zeros(d_model))
        self.W_pos = nn.Parameter(torch.zeros(n_tokens, d_model))
        self.hook_embed, self.hook_pos_embed = HookPoint(), HookPoint()

    def forward(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        """Embed, then add the position."""
        embed = self.hook_embed(F.linear(tokens, self.W_E.mT, self.b_E))
        return embed + self.hook_pos_embed(self.W_pos[: tokens.shape[1]])


class AffineReadOut(nn.Module):
    """h W_U + b_U, one number a position."""

    def __init__(self, d_model: int):
        super().__init__()
        self.W_U, self.b_U = nn.Parameter(torch.zeros(d_model, 1)), nn.Parameter(torch.zeros(1))

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos"]:
        """The prediction at each position."""
        return F.linear(resid, self.W_U.mT, self.b_U).squeeze(-1)


class SlotReadOut(nn.Module):
    """Minus the last entry: the y-slot holds y − ŷ, and the query's y is zero.

    Source: von Oswald et al. (2023), section 2.
    """

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos"]:
        """The prediction at each position."""
        return -resid[..., -1]
