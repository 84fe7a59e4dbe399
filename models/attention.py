"""Softmax and linear attention over one packed projection, materialised only when somebody listens."""

from abc import ABC, abstractmethod
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformer_lens import FactoredMatrix
from transformer_lens.hook_points import HookPoint

from mesascope.models.architecture import RegressorConfig
from mesascope.models.hooks import listened

Heads = Float[Tensor, "batch pos n_heads d_head"]
Pattern = Float[Tensor, "batch n_heads query key"]


@lru_cache(maxsize=64)
def visible(n_tokens: int, causal: bool, query_is_key: bool, device: torch.device) -> Bool[Tensor, "n_tokens n_tokens"]:
    """Which key (column) each query (row) may see.

    `query_is_key=False` hides the last token from every query: it asks, it is never an example.
    """
    mask = torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=device)
    if causal:
        mask = mask.tril()
    if not query_is_key:
        mask[:, -1] = False
    return mask


class Attention(nn.Module, ABC):
    """One attention layer; queries, keys and values come from one GEMM, and W_Q, W_K, W_V, W_O are views of it.

    Maps act on row vectors, in TransformerLens' shapes: q = h W_Q, out = Σ_heads z W_O.
    """

    def __init__(self, d_model: int, n_heads: int, d_head: int, *, bias: bool, causal: bool, query_is_key: bool):
        super().__init__()
        self.n_heads, self.d_head, self.causal, self.query_is_key = n_heads, d_head, causal, query_is_key
        self._make_weights(d_model, bias)
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_z, self.hook_result = HookPoint(), HookPoint()

    def _make_weights(self, d_model: int, bias: bool) -> None:
        width = self.n_heads * self.d_head
        self.qkv_weight = nn.Parameter(torch.zeros(d_model, 3 * width))
        self.qkv_bias = nn.Parameter(torch.zeros(3 * width)) if bias else None
        self.out_weight = nn.Parameter(torch.zeros(width, d_model))
        self.out_bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    @classmethod
    def of(cls, cfg: RegressorConfig) -> "Attention":
        """The layer of a config."""
        return cls(
            cfg.d_model,
            cfg.n_heads,
            cfg.d_head,
            bias=cfg.attention_bias,
            causal=cfg.causal,
            query_is_key=cfg.query_is_key,
        )

    def _packed(self, which: int) -> Float[Tensor, "n_heads d_model d_head"]:
        return self.qkv_weight.unflatten(1, (3, self.n_heads, self.d_head))[:, which].transpose(0, 1)

    @property
    def W_Q(self) -> Float[Tensor, "n_heads d_model d_head"]:
        """Query map of each head, a view."""
        return self._packed(0)

    @property
    def W_K(self) -> Float[Tensor, "n_heads d_model d_head"]:
        """Key map of each head, a view."""
        return self._packed(1)

    @property
    def W_V(self) -> Float[Tensor, "n_heads d_model d_head"]:
        """Value map of each head, a view."""
        return self._packed(2)

    @property
    def W_O(self) -> Float[Tensor, "n_heads d_head d_model"]:
        """Output map of each head, a view."""
        return self.out_weight.unflatten(0, (self.n_heads, self.d_head))

    @property
    def QK(self) -> FactoredMatrix:
        """W_Q W_Kᵀ of each head."""
        return FactoredMatrix(self.W_Q, self.W_K.mT)

    @property
    def OV(self) -> FactoredMatrix:
        """W_V W_O of each head."""
        return FactoredMatrix(self.W_V, self.W_O)

    @abstractmethod
    def fused(self, q: Heads, k: Heads, v: Heads) -> Heads:
        """Mix the values without forming the pattern."""

    @abstractmethod
    def scores(self, q: Heads, k: Heads) -> Pattern:
        """Scores of every query against every key, the invisible ones neutralised."""

    @abstractmethod
    def pattern(self, scores: Pattern) -> Pattern:
        """The weights with which values are summed."""

    def mask(self, n_tokens: int) -> Bool[Tensor, "n_tokens n_tokens"]:
        """See `visible`."""
        return visible(n_tokens, self.causal, self.query_is_key, self.qkv_weight.device)

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Read from, and return what is added to, the residual stream."""
        qkv = F.linear(resid, self.qkv_weight.mT, self.qkv_bias).unflatten(-1, (3, self.n_heads, self.d_head))
        q, k, v = qkv.unbind(2)
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        if listened(self.hook_attn_scores) or listened(self.hook_pattern):
            pattern = self.hook_pattern(self.pattern(self.hook_attn_scores(self.scores(q, k))))
            z = torch.einsum("bhqk,bkhd->bqhd", pattern, v)
        else:
            z = self.fused(q, k, v)
        z = self.hook_z(z)
        if listened(self.hook_result):
            out = self.hook_result(torch.einsum("bqhd,hdm->bqhm", z, self.W_O)).sum(2)
            return out if self.out_bias is None else out + self.out_bias
        return F.linear(z.flatten(2), self.out_weight.mT, self.out_bias)


class SoftmaxAttention(Attention):
    """softmax(q·k / √d_head)."""

    def fused(self, q: Heads, k: Heads, v: Heads) -> Heads:
        """PyTorch's fused kernel."""
        plain_causal = self.causal and self.query_is_key
        z = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=None if self.query_is_key else self.mask(q.shape[1]),
            is_causal=plain_causal,
        )
        return z.transpose(1, 2)

    def scores(self, q: Heads, k: Heads) -> Pattern:
        """Scaled products, -inf where invisible."""
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.d_head**0.5
        return scores.masked_fill(~self.mask(q.shape[1]), -torch.inf)

    def pattern(self, scores: Pattern) -> Pattern:
        """Softmax over keys; zero for a query that sees none, as in the fused kernel."""
        blind = ~self.mask(scores.shape[-1]).any(-1, keepdim=True)
        return scores.softmax(-1).masked_fill(blind, 0.0)


class LinearAttention(Attention):
    """q·k itself: no softmax, no scale, so that a layer is Σ_j (P V h_j)(K h_j)·(Q h).

    Source: von Oswald et al. (2023), eq. 1.
    """

    def fused(self, q: Heads, k: Heads, v: Heads) -> Heads:
        """Q (kᵀ v), linear in the number of tokens when there is no causal mask."""
        if self.causal:
            return torch.einsum("bhqk,bkhd->bqhd", self.scores(q, k), v)
        n_keys = k.shape[1] if self.query_is_key else k.shape[1] - 1
        return torch.einsum("bqhd,bhde->bqhe", q, torch.einsum("bkhd,bkhe->bhde", k[:, :n_keys], v[:, :n_keys]))

    def scores(self, q: Heads, k: Heads) -> Pattern:
        """Products, zero where invisible."""
        return torch.einsum("bqhd,bkhd->bhqk", q, k).masked_fill(~self.mask(q.shape[1]), 0.0)

    def pattern(self, scores: Pattern) -> Pattern:
        """The scores themselves."""
        return scores


class ReluAttention(LinearAttention):
    """relu(q·k): linear attention that leaves out the keys which point away from the query.

    Source: Fu et al. (2024), its construction; departure: no division by the number of tokens, as in linear attention.
    """

    def fused(self, q: Heads, k: Heads, v: Heads) -> Heads:
        """The pattern itself: relu lets nobody sum over the keys first."""
        return torch.einsum("bhqk,bkhd->bqhd", self.pattern(self.scores(q, k)), v)

    def pattern(self, scores: Pattern) -> Pattern:
        """The scores that are positive."""
        return scores.relu()
