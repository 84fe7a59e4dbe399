"""Free scalars chosen for a task: a rival that is not tuned is no rival."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from mesascope.models.learners.base import FilterLearner
from mesascope.models.learners.curvature_corrected import GradientDescentPlusPlus, gd_plus_plus_multipliers
from mesascope.models.streams import generator
from mesascope.models.tasks import LinearRegression


class Contexts:
    """Spectra of the contexts of a task (all points but the last), on which filters are scored without any prompt.

    With w and noise marginalised, the error of ŵ = m(S) b in units of the query's variance along each eigenvector u_i
    is w_std² (1 − λ_i m_i)² + noise_std² λ_i m_i², λ_i the eigenvalues of S.

    Args:
        task: The task; every prompt has the same covariance of x.
        n_prompts: How many contexts.
        seed: Their seed.
        stream: Their stream.

    Raises:
        MesascopeError: Each prompt has a covariance of its own.
        ValueError: There is no context.
    """

    def __init__(self, task: LinearRegression, n_prompts: int, seed: int, stream: str = "tuning"):
        if task.n_points < 2:
            raise ValueError(f"n_points={task.n_points} leaves no context; expected at least 2, the last is the query")
        xs = task.sample(n_prompts, seed=seed, stream=stream, dtype=torch.float64).xs[:, :-1]
        self.task, self.n_context = task, xs.shape[1]
        eigenvalues, basis = torch.linalg.eigh(xs.mT @ xs / self.n_context)
        self.eigenvalues = eigenvalues.clamp(min=0)
        """Of S/n, by context."""
        covariance = task.inputs.covariance(task.n_dims)
        self.query_variance = torch.einsum("bji,jk,bki->bi", basis, covariance, basis)
        """u_iᵀ Σ u_i."""

    def loss(self, multiplier: Float[Tensor, "n_prompts n_dims"]) -> Float[Tensor, ""]:
        """E (y − ŷ)² at the query of ŵ = m(S/n) b/n."""
        task, lam = self.task, self.eigenvalues
        missed = task.w_std**2 * (1 - lam * multiplier).square()
        noise = task.noise_std**2 * lam * multiplier.square() / self.n_context
        return (self.query_variance * (missed + noise)).sum(-1).mean() + task.noise_std**2

    def loss_of(self, learner: FilterLearner) -> float:
        """E (y − ŷ)² of a filter learner at the query."""
        counts = torch.full_like(self.eigenvalues[:, :1], self.n_context)
        (multiplier,) = learner.multiplier(self.eigenvalues * self.n_context, counts, [learner.n_steps])
        return self.loss(multiplier * self.n_context).item()


def tuned_gd_plus_plus(
    task: LinearRegression,
    n_steps: int,
    *,
    tied: bool = False,
    n_starts: int = 40,
    n_prompts: int = 20_000,
    seed: int = 0,
) -> GradientDescentPlusPlus:
    """The best GD++ on a task, by L-BFGS from many starts: a single one ends in local optima.

    Starts are searched on a fifth of the prompts; the best five are polished on all.

    Args:
        task: The task; every prompt has the same covariance of x.
        n_steps: Steps.
        tied: Whether all steps share one η and one γ.
        n_starts: Random starts.
        n_prompts: Contexts to tune on.
        seed: Seed of contexts and starts.

    Raises:
        MesascopeError: Each prompt has a covariance of its own.
        ValueError: There is no step, no start or no context.
    """
    if n_steps < 1 or n_starts < 1:
        raise ValueError(f"n_steps={n_steps}, n_starts={n_starts}: expected both >= 1")
    few, all_ = Contexts(task, max(n_prompts // 5, 1), seed), Contexts(task, n_prompts, seed)
    rng = generator(seed, "starts", n_steps, tied)
    n_scalars = 1 if tied else n_steps
    unit = 1 / few.eigenvalues.amax(-1).mean().item()
    starts = unit * torch.rand(n_starts, 2 * n_scalars, generator=rng, dtype=torch.float64) * 2
    searched = sorted((_descend(few, start.numpy(), n_steps) for start in starts), key=lambda found: found[0])
    _, best = min((_descend(all_, scalars, n_steps) for _, scalars in searched[:5]), key=lambda found: found[0])
    etas, gammas = (values.tolist() for values in _spread(torch.from_numpy(best), n_steps))
    return GradientDescentPlusPlus(tuple(etas), (*gammas[:-1], 0.0) if not tied else tuple(gammas))


def _spread(scalars: Float[Tensor, " n_scalars"], n_steps: int) -> tuple[Tensor, Tensor]:
    """η and γ of every step, whether given once or for each."""
    etas, gammas = scalars.chunk(2)
    return etas.expand(n_steps), gammas.expand(n_steps)


def _descend(contexts: Contexts, start: np.ndarray, n_steps: int) -> tuple[float, np.ndarray]:
    def value_and_gradient(scalars: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(scalars.copy()).requires_grad_()
        loss = contexts.loss(gd_plus_plus_multipliers(contexts.eigenvalues, *_spread(leaf, n_steps))[-1])
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.item(), gradient.numpy()

    found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return float(found.fun), found.x
