"""The eigenvalues of the tokens' covariance before and behind each layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.curvature.activations import Xs, context_updates
from mesascope.analyses.scope import Scope
from mesascope.probes import TokenBasis

N_PROMPTS = 240
"""Prompts whose spectra are kept, to be drawn."""
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Spectra:
    """Eigenvalues of S = Σ x xᵀ/n over the context's tokens, where one layer reads them and where it has written."""

    before: Float[Tensor, "n_prompts n_dims"]
    """λ, the largest first."""
    after: Float[Tensor, "n_prompts n_dims"]
    along: Float[Tensor, "n_prompts n_dims"]
    """uᵀS'u behind the layer, along the eigenvectors u of `before`: λ(1 − γλ)² if it is GD++."""
    rank: int
    """The most eigenvalues that S can have which are not zero."""

    def condition(self, behind: bool) -> tuple[float, ...]:
        """Quantiles over prompts of λ_max/λ_min, of those eigenvalues that can be other than zero."""
        spectrum = self.after if behind else self.before
        # A layer with γ = 1/λ leaves nothing along an eigenvector but rounding.
        ratios = spectrum[:, 0] / spectrum[:, self.rank - 1].clamp(min=1e-300)
        return tuple(torch.quantile(ratios, torch.tensor(QUANTILES).to(ratios)).tolist())

    def quantiles(self, behind: bool) -> list[list[float]]:
        """Quantiles over prompts of each eigenvalue, a row a quantile."""
        spectrum = self.after if behind else self.before
        return torch.quantile(spectrum, torch.tensor(QUANTILES).to(spectrum), dim=0).tolist()

    def data(self) -> dict[str, Any]:
        """Quantiles, and the mean of each eigenvalue."""
        return {
            where: {
                "mean": spectrum.mean(0).tolist(),
                "quantiles": self.quantiles(behind),
                "condition": list(self.condition(behind)),
            }
            for where, spectrum, behind in (("before", self.before, False), ("after", self.after, True))
        }


def sample_spectra(scope: Scope, bases: Mapping[int, TokenBasis]) -> dict[int, Spectra]:
    """The spectra of `N_PROMPTS` prompts around each layer.

    Args:
        scope: A model on joint tokens.
        bases: The slots of the tokens of the layers to look at.
    """
    found: dict[int, list[Spectra]] = {layer: [] for layer in bases}
    for batch in context_updates(scope, bases, N_PROMPTS):
        for layer, (x, dx) in batch.items():
            found[layer].append(_around(x, x + dx))
    return {layer: _concat(parts) for layer, parts in found.items()}


def _around(x: Xs, behind: Xs) -> Spectra:
    S, changed = (part.mT @ part / part.shape[1] for part in (x, behind))
    eigenvalues, U = torch.linalg.eigh(S)
    along = torch.einsum("bij,bik,bkj->bj", U, changed, U)
    after = torch.linalg.eigvalsh(changed)
    # Rounding makes the smallest eigenvalue of a singular S negative.
    before, after, along = (part.flip(-1).clamp(min=0.0).cpu() for part in (eigenvalues, after, along))
    return Spectra(before, after, along, rank=min(x.shape[1:]))


def _concat(parts: list[Spectra]) -> Spectra:
    before, after, along = (torch.cat([getattr(p, name) for p in parts]) for name in ("before", "after", "along"))
    return Spectra(before, after, along, parts[0].rank)
