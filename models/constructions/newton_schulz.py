"""Iterative Newton (Newton-Schulz) in linear attention."""

import math
from collections.abc import Callable
from typing import Literal

import torch

from mesascope.models.constructions.arguments import at_least
from mesascope.models.constructions.newton_examples import attention_only, with_mlp, with_relu
from mesascope.models.constructions.newton_scratch import with_scratch
from mesascope.models.errors import MesascopeError, nearest
from mesascope.models.regressor import HookedRegressor

NewtonForm = Literal["mlp", "attention_only", "relu", "scratch"]
FORMS: dict[str, Callable[[int, int, int, float, torch.dtype], HookedRegressor]] = {
    "mlp": with_mlp,
    "attention_only": attention_only,
    "relu": with_relu,
    "scratch": with_scratch,
}


def newton(
    n_dims: int,
    n_points: int,
    n_steps: int,
    alpha: float,
    form: NewtonForm = "mlp",
    *,
    dtype: torch.dtype = torch.float32,
) -> HookedRegressor:
    """M_0 = αS, M ← 2M − MSM, ŷ = x_qᵀ M b in k+2 layers: `Newton(k, alpha)` with a fixed α.

    The forms "mlp", "attention_only" and "relu" keep M x_j in the examples' tokens (4d+2 wide, two heads, four with
    relu), "scratch" keeps M e_i in d tokens of their own (5d+3 wide, two heads).

    Rounding grows with the steps, in "scratch" only until it has converged. Worst of 100 prompts in float64, d=20, 40
    points of context, |ŷ| up to 13: 3e-12 against 2e-13 at k=12, 7e-10 against 3e-13 at k=20. With 20 points, S nearly
    singular, "scratch" ends its 20th step at 3e-11. In float32 it is up to 5e8 times as much.

    Args:
        n_dims: d, the dimension of x.
        n_points: Points of a prompt, the query included. Nothing in the weights depends on it.
        n_steps: k.
        alpha: α, a number, since linear attention forms none that depends on the data. It converges on prompts whose S
            has λ_max² < 2/α, and diverges on others.
        form: Where M stands and what doubles it, see above.
        dtype: Of the weights.

    Raises:
        MesascopeError: There is no such form, n_steps is negative, α is not positive and finite, or a size makes no
            model.

    Source: Fu et al. (2024), the proof that transformers run k iterations; departures: its printed weights do not run.
    The second relu head of a pair needs V_2 = −V_1, the query must not be a key, the first iterate is
    M_1 = 2αS − α²S³, and there can be no causal mask. The forms "attention_only" and "scratch" are ours.
    """
    if form not in FORMS:
        raise MesascopeError(f"newton has no form {form!r}{nearest(form, FORMS)}")
    at_least(1, n_dims=n_dims, n_points=n_points)
    at_least(0, n_steps=n_steps)
    if not 0 < alpha < math.inf:
        raise MesascopeError(f"alpha={alpha}: expected a finite number > 0, such as 1/λ_max² of the largest S")
    return FORMS[form](n_dims, n_points, n_steps, alpha, dtype)
