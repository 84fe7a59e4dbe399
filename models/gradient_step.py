"""Attention whose weights are a gradient step and stay one: the twin of a trained layer."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mesascope.models.architecture import RegressorConfig
from mesascope.models.attention import LinearAttention


class GradientStep(LinearAttention):
    """Linear attention frozen to one gradient step on the features in the residual stream; η alone is learned.

    With m_j all entries of token j but the y-slots and y_j those slots, the query's slots fall by
    (η/n) Σ_j y_j m_j·m_q. `W_Q`, `W_K`, `W_V`, `W_O` are what they would be in a trained layer.

    Source: von Oswald et al. (2023), proposition 1 and section 4 (sine regression), where the embedding is trained
    behind such a layer.
    """

    def __init__(self, d_model: int, y_slot: int, n_context: int, causal: bool, query_is_key: bool, d_y: int = 1):
        self.y_slot, self.d_y, self.n_context = y_slot, d_y, n_context
        super().__init__(d_model, 1, d_model, bias=False, causal=causal, query_is_key=query_is_key)

    @classmethod
    def of(cls, cfg: RegressorConfig) -> "GradientStep":
        """The layer of a config."""
        return cls(cfg.d_model, cfg.y_slot, cfg.n_points - 1, cfg.causal, cfg.query_is_key, cfg.d_y)

    def _make_weights(self, d_model: int, bias: bool) -> None:
        self.eta = nn.Parameter(torch.tensor(1.0))
        only_y = torch.zeros(d_model, d_model)
        only_y.diagonal()[self.y_slot : self.y_slot + self.d_y] = 1
        features = torch.eye(d_model) - only_y
        self.register_buffer("qkv_weight", torch.cat([features, features, only_y], dim=1), persistent=False)
        self.register_buffer("only_y", only_y, persistent=False)
        self.qkv_bias = self.out_bias = None

    @property
    def out_weight(self) -> Float[Tensor, "d_model d_model"]:  # type: ignore[override]  # follows η, is not trained
        """W_O."""
        return -(self.eta / self.n_context) * self.get_buffer("only_y")
