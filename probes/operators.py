"""What an attention layer computes, free of gauge: the operator T = Σ_h OV_h ⊗ QK_h."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import FactoredMatrix

from mesascope.models.attention import Attention
from mesascope.probes.token_basis import TokenBasis


@dataclass(frozen=True)
class LayerOperator:
    """T = Σ_h OV_h ⊗ QK_h of one layer, never formed: a query h_q gains Σ_j (h_q QK_h h_jᵀ) h_j OV_h, on row vectors.

    T does not see what changes no output: GL(d_head) within QK or OV, scale between them, the order of heads, and how
    many heads share the work.

    Source: Elhage et al. (2021), for QK and OV; that linear attention depends on their sum over heads alone is ours.
    """

    W_Q: Float[Tensor, "n_heads d_query d_head"]
    W_K: Float[Tensor, "n_heads d_key d_head"]
    W_V: Float[Tensor, "n_heads d_value d_head"]
    W_O: Float[Tensor, "n_heads d_head d_write"]

    @staticmethod
    def of(attention: Attention, scale: float = 1.0) -> "LayerOperator":
        """A layer's operator on what it reads, behind its norm if there is one; float64.

        Args:
            attention: The layer.
            scale: Factor on what it adds, such as the damping.
        """
        W_Q, W_K, W_V, W_O = (w.detach().double() for w in (attention.W_Q, attention.W_K, attention.W_V, attention.W_O))
        return LayerOperator(W_Q, W_K, W_V, scale * W_O)

    @property
    def QK(self) -> FactoredMatrix:
        """W_Q W_Kᵀ of each head: a query's row against a key's."""
        return FactoredMatrix(self.W_Q, self.W_K.mT)

    @property
    def OV(self) -> FactoredMatrix:
        """W_V W_O of each head: from what a token holds to what it writes."""
        return FactoredMatrix(self.W_V, self.W_O)

    def head(self, index: int) -> "HeadOperator":
        """One head alone."""
        factors = (self.W_Q, self.W_K, self.W_V, self.W_O)
        return HeadOperator(*(factor[[index]] for factor in factors))

    def inner(self, other: "LayerOperator") -> float:
        """⟨T, T'⟩ = Σ_{h,h'} tr(OV_hᵀ OV'_{h'}) tr(QK_hᵀ QK'_{h'}), in O(n_heads² d_model d_head²)."""
        W_V, W_O, W_Q, W_K = (
            torch.einsum("hid,gie->hgde", mine, theirs)
            for mine, theirs in [
                (self.W_V, other.W_V),
                (self.W_O.mT, other.W_O.mT),
                (self.W_Q, other.W_Q),
                (self.W_K, other.W_K),
            ]
        )
        return ((W_V * W_O).sum((-2, -1)) * (W_Q * W_K).sum((-2, -1))).sum().item()

    @property
    def norm(self) -> float:
        """‖T‖ = ⟨T, T⟩^½."""
        return max(self.inner(self), 0.0) ** 0.5

    def seen(self, basis: TokenBasis) -> "LayerOperator":
        """The operator between the slots of tokens instead of the entries of the residual stream."""
        query, key, value, write = (
            slots.directions.to(self.W_Q) for slots in (basis.query, basis.key, basis.value, basis.write)
        )
        return LayerOperator(query @ self.W_Q, key @ self.W_K, value @ self.W_V, self.W_O @ write.mT)

    def against(
        self, values: Float[Tensor, "n_values d_value d_write"], scores: Float[Tensor, "n_scores d_query d_key"]
    ) -> Float[Tensor, "n_values n_scores"]:
        """⟨T, V_a ⊗ S_b⟩ for matrices V_a from values to writes and S_b between queries and keys."""
        of_values = (self.W_V @ self.W_O).flatten(1) @ values.to(self.W_V).flatten(1).mT
        of_scores = (self.W_Q @ self.W_K.mT).flatten(1) @ scores.to(self.W_Q).flatten(1).mT
        return of_values.mT @ of_scores


class HeadOperator(LayerOperator):
    """OV ⊗ QK of one head."""
