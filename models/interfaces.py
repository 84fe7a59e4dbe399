"""Between tokens and the residual stream: an affine read-in and read-out, or the tokens themselves."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from mesascope.models.architecture import RegressorConfig
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


@lru_cache(maxsize=64)
def sinusoidal_code(
    n_tokens: int, width: int, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "n_tokens width"]:
    """sin(t/10000^(2k/width)) in the even and cos(…) in the odd columns of position t.

    Source: Vaswani et al. (2017), section 3.5, as von Oswald et al. (2023) use it.
    """
    rates = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(n_tokens, dtype=torch.float64)[:, None] * rates
    code = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
    return code.to(device, dtype)


class ReadIn(nn.Module):
    """From tokens to the residual stream: an affine map or none, then positions added, set beside it, or none."""

    def __init__(self, cfg: RegressorConfig):
        super().__init__()
        self.d_position, self.affine, self.learned = (
            cfg.d_position,
            cfg.read_in == "affine",
            cfg.positions == "learned",
        )
        if self.affine:
            width = cfg.d_model - cfg.d_position
            self.W_E = nn.Parameter(torch.zeros(cfg.d_token, width))
            self.b_E = nn.Parameter(torch.zeros(width))
            self.hook_embed = HookPoint()
        if self.learned:
            self.W_pos = nn.Parameter(torch.zeros(cfg.tokens.n_tokens(cfg.n_points, cfg.n_dims), cfg.d_model))
            self.hook_pos_embed = HookPoint()

    def forward(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        """Embed, then say where."""
        embed = self.hook_embed(F.linear(tokens, self.W_E.mT, self.b_E)) if self.affine else tokens
        if self.learned:
            return embed + self.hook_pos_embed(self.W_pos[: tokens.shape[1]])
        if self.d_position:
            code = sinusoidal_code(tokens.shape[1], self.d_position, embed.device, embed.dtype)
            return torch.cat([embed, code.expand(len(tokens), -1, -1)], dim=-1)
        return embed


class AffineReadOut(nn.Module):
    """h W_U + b_U: d_out numbers a position, without that axis if it is one."""

    def __init__(self, d_model: int, d_out: int):
        super().__init__()
        self.W_U, self.b_U = nn.Parameter(torch.zeros(d_model, d_out)), nn.Parameter(torch.zeros(d_out))

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos *d_out"]:
        """The prediction at each position."""
        out = F.linear(resid, self.W_U.mT, self.b_U)
        return out.squeeze(-1) if self.W_U.shape[1] == 1 else out


class SlotReadOut(nn.Module):
    """Minus the y-slots, d_out from the first on: they hold y − ŷ, and the query's y is zero.

    Source: von Oswald et al. (2023), section 2.
    """

    def __init__(self, y_slot: int, d_out: int = 1):
        super().__init__()
        self.y_slot, self.d_out = y_slot, d_out

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos *d_out"]:
        """The prediction at each position."""
        out = -resid[..., self.y_slot : self.y_slot + self.d_out]
        return out.squeeze(-1) if self.d_out == 1 else out
