"""Affine readouts by ridge regression, from streamed moments."""

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.probes.moments import Moments

ALPHAS = tuple(10.0**exponent for exponent in range(-12, 0))
"""Relative penalties among which `choose_alpha` chooses."""


class LinearReadout:
    """Affine readout `resid @ coef_ + intercept_` by ridge regression.

    Minimises Σ_i ‖y_i − Wᵀh_i − c‖² + penalty ‖W‖², c unpenalised, with penalty = alpha · tr(S_hh)/d_model.

    Args:
        alpha: Penalty relative to tr(S_hh)/d_model, so that it means the same for any number of samples.
    """

    def __init__(self, alpha: float = 1e-6):
        self.alpha = alpha

    def fit(self, resid: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_y"]) -> "LinearReadout":
        """Forget earlier data, then fit one batch."""
        return self.fit_moments(Moments.of(resid, y))

    def partial_fit(self, resid: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_y"]) -> "LinearReadout":
        """Add one batch to what was fitted before.

        Raises:
            ValueError: The batch has other widths than the earlier ones.
        """
        if not hasattr(self, "moments_"):
            return self.fit(resid, y)
        return self.fit_moments(self.moments_.update(resid, y))

    def fit_moments(self, moments: Moments) -> "LinearReadout":
        """Forget earlier data, then fit from moments (of one group).

        Raises:
            ValueError: S_hh + penalty I is singular, or there is no sample.
        """
        S = moments.S_hh
        # What does not vary beyond rounding carries nothing: any penalty then gives W = 0, and the mean is predicted.
        penalty = self.alpha * S.trace() / len(S) if moments.varies else torch.ones((), dtype=S.dtype)
        # Cholesky, not inv: S is PSD, so a failure means that alpha is too small.
        L, info = torch.linalg.cholesky_ex(S + penalty * torch.eye(len(S)).to(S))
        if info or not bool(moments.n > 0):
            raise ValueError(
                f"S + penalty I is singular: n={int(moments.n)} samples, d_model={len(S)}, alpha={self.alpha}. "
                "Use more prompts or a larger alpha."
            )
        self.moments_ = moments
        self.coef_: Float[Tensor, "d_model d_y"] = torch.cholesky_solve(moments.S_hy, L)
        means = moments.means
        self.intercept_: Float[Tensor, " d_y"] = means[len(S) :] - means[: len(S)] @ self.coef_
        return self

    def predict(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_y"]:
        """Readout of any activations of the fitted width, float64.

        Raises:
            ValueError: It was not fitted, or on another width.
        """
        if not hasattr(self, "coef_"):
            raise ValueError("this readout was not fitted; call fit or partial_fit first")
        if resid.shape[-1] != len(self.coef_):
            raise ValueError(
                f"resid has d_model={resid.shape[-1]} but the readout was fitted on {len(self.coef_)}; "
                "capture the same layer width."
            )
        return resid.double() @ self.coef_ + self.intercept_

    def score(self, resid: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_y"]) -> float:
        """R², the mean over targets; at most 1, negative when worse than the mean of y."""
        y = y.double()
        error = (y - self.predict(resid)).square().sum(0)
        return (1 - error / (y - y.mean(0)).square().sum(0)).mean().item()


def choose_alpha(blocks: Moments, target: int = 0, alphas: tuple[float, ...] = ALPHAS) -> float:
    """The relative penalty with the least error on held-out blocks.

    Every block is predicted by the readout fitted on all others; one eigendecomposition a block serves every alpha.

    Args:
        blocks: Moments with one axis of groups, the blocks; at least two of them.
        target: Which target decides.
        alphas: Candidates.
    """
    whole, errors = blocks.sum(0), torch.zeros(len(alphas), dtype=torch.float64)
    for block in range(len(blocks.products)):
        rest = whole - blocks[block]
        eigenvalues, basis = torch.linalg.eigh(rest.S_hh)
        eigenvalues = eigenvalues.clamp(min=0)
        rotated, means = basis.mT @ rest.S_hy, rest.means
        for index, alpha in enumerate(alphas):
            penalised = eigenvalues + (alpha * eigenvalues.mean() if rest.varies else 1.0)
            coef = basis @ (rotated / penalised[:, None])
            intercept = means[rest.d_h :] - means[: rest.d_h] @ coef
            errors[index] += blocks[block].squared_error(coef, intercept)[target].cpu()
    return alphas[int(errors.argmin())]
