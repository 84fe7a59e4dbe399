"""How much of what one head writes a later one reads, by their weights alone."""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import FactoredMatrix
from transformer_lens.utilities import composition_scores

from mesascope.models.attention import Attention
from mesascope.models.blocks import TransformerBlock
from mesascope.models.interfaces import AffineReadOut, LayerNorm, SlotReadOut
from mesascope.models.regressor import HookedRegressor
from mesascope.models.streams import generator
from mesascope.probes.jackknife import Estimate, prediction_interval

N_DRAWS = 20
"""Random matrices that the scores of a shape are held against."""


@dataclass(frozen=True)
class Composition:
    """‖W_OV M‖/(‖W_OV‖ ‖M‖) of an earlier head's W_OV with what a later head does to its input as query, key, value.

    M is W_QK, W_QKᵀ and W_OV, each behind the later layer's norm. Scores are invariant under every gauge of the heads.

    Source: Elhage et al. (2021), "composition scores"; departure: the random matrices are drawn in the heads' own
    shapes, and stand beside the scores instead of being subtracted.
    """

    scores: Float[Tensor, "3 n_writers n_readers"]
    """As query, key and value."""
    chance: Estimate
    """The score of random heads, and where 95% of them lie."""


def compose(model: HookedRegressor, writer: int, reader: int, seed: int = 0) -> Composition:
    """The composition of all heads of one layer with all heads of a later one; float64.

    Args:
        model: A model with heads.
        writer: The earlier layer.
        reader: The later layer.
        seed: Of the random matrices.
    """
    OV = _factors(model, writer)[1]
    QK, values = _factors(model, reader)
    found = torch.stack([composition_scores(OV, read) for read in (QK, QK.T, values)])
    d_head, d_model = OV.A.shape[-1], OV.shape[-1]
    rng = generator(seed, "composition")

    def drawn() -> FactoredMatrix:
        shape = (N_DRAWS, d_model, d_head)
        left, right = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
        return FactoredMatrix(left, right.mT)

    chance = composition_scores(drawn(), drawn(), broadcast_dims=False)
    return Composition(found.cpu(), prediction_interval(chance))


def _factors(model: HookedRegressor, layer: int) -> tuple[FactoredMatrix, FactoredMatrix]:
    """W_QK and W_OV of each head on the stream, with the gain and the centring of the layer's norm in them."""
    block = cast(TransformerBlock, model.blocks[layer])
    attention = cast(Attention, block.attn)
    W_Q, W_K, W_V, W_O = (w.detach().double() for w in (attention.W_Q, attention.W_K, attention.W_V, attention.W_O))
    if isinstance(block.ln1, LayerNorm):
        gain = block.ln1.w.detach().double()
        W_Q, W_K, W_V = (_centred(gain[:, None] * w) for w in (W_Q, W_K, W_V))
    return FactoredMatrix(W_Q, W_K.mT), FactoredMatrix(W_V, W_O)


def _centred(weight: Float[Tensor, "n_heads d_model d_head"]) -> Float[Tensor, "n_heads d_model d_head"]:
    return weight - weight.mean(1, keepdim=True)


@dataclass(frozen=True)
class TokenCircuits:
    """How near heads' products between tokens are to those of an induction head, which are those of a gradient step.

    Cosines, once what a softmax does not see (constants over keys) and what a norm takes out are gone. Each head is
    measured by its products alone, so that no gauge changes them; norms' scales are left out.
    """

    matching: Float[Tensor, "n_writers n_readers"]
    """Of a later head's W_QK, with a copy head before its keys, with the identity: it scores x_j of y_j's token
    against x_q."""
    writing: Float[Tensor, " n_readers"] | None
    """Of a later head's W_OV, from tokens to logits, with the identity: it writes the token that it attends to. None
    where predictions have other dimensions than tokens."""
    one_back: Float[Tensor, " n_writers"] | None
    """Of an earlier head's W_QK between positions with a step back by one; None where positions are not learned."""


def token_circuits(model: HookedRegressor, writer: int, reader: int) -> TokenCircuits:
    """The circuits of two layers between tokens, as the read-in embeds them and the read-out reads them.

    Source: Elhage et al. (2021) for circuits between tokens, Olsson et al. (2022) for the induction head's; "induction
    as a gradient step" has the identity in both (`models.induction`).
    """
    E, U = _read_in(model), _read_out(model)
    (back, OV), (QK, values) = _factors(model, writer), _factors(model, reader)
    copied = E @ _products(OV)  # [n_writers, n_tokens, d_model]: what a copy of each token writes
    scores = torch.einsum("td,hde,wse->whts", E, _products(QK), copied)
    logits, identity = E @ _products(values) @ U, torch.eye(len(E)).to(E)
    one_back = None
    if model.cfg.positions == "learned":
        pos = cast(Tensor, model.embed.W_pos).detach().double()
        one_back = _step_cosine(pos @ _products(back) @ pos.mT).cpu()
    writing = _cosine(logits, identity).cpu() if U.shape[1] == len(E) else None
    return TokenCircuits(_cosine(scores, identity).cpu(), writing, one_back)


def _read_in(model: HookedRegressor) -> Float[Tensor, "d_token d_model"]:
    """What each entry of a token adds to the stream."""
    cfg = model.cfg
    if cfg.read_in == "affine":
        E = cast(Tensor, model.embed.W_E).detach().double()
    else:
        E = torch.eye(cfg.d_token, dtype=torch.float64, device=next(model.parameters()).device)
    return torch.nn.functional.pad(E, (0, cfg.d_model - E.shape[1]))  # a code beside the token


def _read_out(model: HookedRegressor) -> Float[Tensor, "d_model d_out"]:
    """What each number of a prediction reads of the stream."""
    if isinstance(model.unembed, SlotReadOut):
        identity = torch.eye(model.cfg.d_model, dtype=torch.float64, device=next(model.parameters()).device)
        return -identity[:, model.unembed.y_slot : model.unembed.y_slot + model.unembed.d_out]
    return cast(AffineReadOut, model.unembed).W_U.detach().double()


def _products(factored: FactoredMatrix) -> Tensor:
    return cast(Tensor, factored.AB)


def _cosine(matrix: Float[Tensor, "*lead n n"], wanted: Float[Tensor, "n n"]) -> Float[Tensor, "*lead"]:
    """Of matrices whose rows are centred."""
    a, b = (m - m.mean(-1, keepdim=True) for m in (matrix, wanted))
    return (a * b).sum((-2, -1)) / (a.flatten(-2).norm(dim=-1) * b.norm()).clamp(min=1e-300)


def _step_cosine(steps: Float[Tensor, "*lead n n"]) -> Float[Tensor, "*lead"]:
    """The same of rows of different length: each query sees the positions up to its own."""
    n = steps.shape[-1]
    seen = torch.ones(n, n, dtype=torch.bool, device=steps.device).tril()
    counts = seen.sum(-1, keepdim=True)

    def centred(matrix: Tensor) -> Tensor:
        matrix = matrix * seen
        return ((matrix - matrix.sum(-1, keepdim=True) / counts) * seen)[..., 1:, :]  # the first has none before it

    a, b = centred(steps), centred(torch.ones(n - 1, dtype=steps.dtype, device=steps.device).diag(-1))
    return (a * b).sum((-2, -1)) / (a.flatten(-2).norm(dim=-1) * b.norm()).clamp(min=1e-300)


def copying_scores(model: HookedRegressor, layer: int) -> Float[Tensor, " n_heads"] | None:
    """Σλ/Σ|λ| over the eigenvalues of W_E W_OV W_U of each head: 1 if every token raises its own logit.

    None where predictions have other dimensions than tokens: the product is then not square.

    Source: Elhage et al. (2021), "copying"; Olsson et al. (2022) score the same on data.
    """
    E, U = _read_in(model), _read_out(model)
    if U.shape[1] != len(E):
        return None
    eigenvalues = torch.linalg.eigvals(E @ _products(_factors(model, layer)[1]) @ U)
    return (eigenvalues.sum(-1).real / eigenvalues.abs().sum(-1).clamp(min=1e-300)).cpu()
