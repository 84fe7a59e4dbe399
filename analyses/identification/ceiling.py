"""What could be explained at all: a regression on every rival at once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models import Learner
from mesascope.models.battery import Target


class Stack:
    """ŷ ≈ Σ_j c_j ŷ_j over learners, by least squares: scaled learners and mixtures of any number of them.

    What it explains, and a single learner does not, is there to be explained. Learned state ends in `_`.
    """

    def __init__(self, learners: Sequence[Learner]):
        self.learners = tuple(learners)

    def fit(self, target: Target) -> "Stack":
        """Fit the coefficients to a target."""
        columns = self._columns(target)
        self.norms_ = columns.norm(dim=0).clamp(min=1e-300)
        scaled, wanted = columns / self.norms_, target.preds.flatten()[:, None]
        # Learners are nearly alike, so the small singular values are rounding.
        self.coef_ = torch.linalg.lstsq(scaled.cpu(), wanted.cpu(), rcond=1e-9, driver="gelsd").solution.to(scaled)
        return self

    def predict(self, target: Target) -> Float[Tensor, "batch n_counted"]:
        """The regression's prediction of ŷ, on the target's prompts; its own predictions are not looked at."""
        return (self._columns(target) / self.norms_ @ self.coef_).view_as(target.preds)

    def _columns(self, target: Target) -> Float[Tensor, "n n_learners"]:
        return torch.stack([target.predict(learner).flatten() for learner in self.learners], dim=1)
