"""Layers of the residual stream: attention and MLP, or an LSTM; all with TransformerLens' hooks."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from mesascope.models.architecture import RegressorConfig
from mesascope.models.attention import Attention, LinearAttention, ReluAttention, SoftmaxAttention
from mesascope.models.gradient_step import GradientStep
from mesascope.models.interfaces import LayerNorm

ATTENTIONS: dict[str, type[Attention]] = {
    "softmax": SoftmaxAttention,
    "linear": LinearAttention,
    "relu": ReluAttention,
    "gradient_step": GradientStep,
}
"""Kinds of attention by the name they have in a config; "none" leaves it out."""


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": partial(F.gelu, approximate="tanh"),
    "linear": lambda pre: pre,
}
"""What an MLP does to its hidden units, by the name in a config; gelu is GPT-2's gelu_new."""


class MLP(nn.Module):
    """a(h W_in + b_in) W_out + b_out."""

    def __init__(self, d_model: int, d_mlp: int, bias: bool, activation: str = "gelu"):
        super().__init__()
        self.activation = activation
        self.W_in, self.W_out = nn.Parameter(torch.zeros(d_model, d_mlp)), nn.Parameter(torch.zeros(d_mlp, d_model))
        self.b_in = nn.Parameter(torch.zeros(d_mlp)) if bias else None
        self.b_out = nn.Parameter(torch.zeros(d_model)) if bias else None
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Return what is added to the residual stream."""
        pre = self.hook_pre(F.linear(resid, self.W_in.mT, self.b_in))
        return F.linear(self.hook_post(ACTIVATIONS[self.activation](pre)), self.W_out.mT, self.b_out)


class TransformerBlock(nn.Module):
    """Attention, then an MLP, where the config has them, each behind its norm if there is one."""

    def __init__(self, cfg: RegressorConfig, layer: int):
        super().__init__()
        self.damping, self.clip = cfg.damping, cfg.clip
        kind, d_mlp = cfg.attentions[layer], cfg.mlp_widths[layer]
        self.attn = None if kind == "none" else ATTENTIONS[kind].of(cfg)
        self.mlp = MLP(cfg.d_model, d_mlp, cfg.mlp_bias, cfg.mlp_activation) if d_mlp else None
        self.hook_resid_pre, self.hook_resid_post = HookPoint(), HookPoint()
        if self.attn is not None:
            self.hook_attn_out = HookPoint()
            self.ln1: nn.Module = LayerNorm(cfg.d_model) if cfg.layer_norm else nn.Identity()
        if self.mlp is not None:  # as in TransformerLens, an attention-only block has no resid_mid
            self.hook_resid_mid, self.hook_mlp_out = HookPoint(), HookPoint()
            self.ln2: nn.Module = LayerNorm(cfg.d_model) if cfg.layer_norm else nn.Identity()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """One layer of the residual stream."""
        resid = self.hook_resid_pre(resid)
        if self.attn is not None:
            resid = self._bounded(resid + self.hook_attn_out(self._damped(self.attn(self.ln1(resid)))))
        if self.mlp is not None:
            resid = self.hook_resid_mid(resid)
            resid = self._bounded(resid + self.hook_mlp_out(self._damped(self.mlp(self.ln2(resid)))))
        return self.hook_resid_post(resid)

    def _damped(self, update: Tensor) -> Tensor:
        # Before the hook, so that a cache's parts add up to its whole.
        return update if self.damping == 1 else self.damping * update

    def _bounded(self, resid: Tensor) -> Tensor:
        return resid if self.clip is None else resid.clamp(-self.clip, self.clip)


class LSTMBlock(nn.Module):
    """One LSTM layer in place of a transformer's; no residual connection, as in Fu et al. (2024).

    Its hooks are `hook_resid_pre` (what goes in) and `hook_resid_post` (the hidden states that come out).
    """

    def __init__(self, cfg: RegressorConfig, layer: int):
        super().__init__()
        self.hook_resid_pre, self.hook_resid_post = HookPoint(), HookPoint()
        self.attn = None
        self.lstm = nn.LSTM(cfg.d_model, cfg.d_model, batch_first=True)
        with torch.no_grad():  # PyTorch draws biases from its global generator
            for name, bias in self.lstm.named_parameters():
                if name.startswith("bias"):
                    bias.zero_()
                if name == "bias_ih_l0":
                    bias[cfg.d_model : 2 * cfg.d_model] = 1  # an open forget gate

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """One layer."""
        hidden, _ = self.lstm(self.hook_resid_pre(resid))
        return self.hook_resid_post(hidden)


Block = TransformerBlock | LSTMBlock
BLOCKS: dict[str, type[Block]] = {"transformer": TransformerBlock, "lstm": LSTMBlock}
"""Kinds of layers by the name they have in a config."""
