"""Prompts and rotations that the tests of the learners share."""

import torch

from mesascope.models import LinearRegression, Prompts
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform


def prompts_of(n_dims=5, n_points=12, n_prompts=4, kappa=10.0, noise_std=0.2, seed=0):
    """Noisy, so that no learner is right by interpolation; anisotropic, so that eigendirections differ."""
    task = LinearRegression(
        n_dims=n_dims, n_points=n_points, inputs=Gaussian(spectrum=LogUniform(kappa=kappa)), noise_std=noise_std
    )
    return task.sample(n_prompts, seed=seed, dtype=torch.float64)


def at_every_prefix(prompts, learn):
    """`learn(X, y)` → w, called on the points before each point, and applied to that point."""
    preds = torch.zeros_like(prompts.ys)
    for b in range(len(prompts)):
        for t in range(prompts.n_points):
            preds[b, t] = prompts.xs[b, t] @ learn(prompts.xs[b, :t], prompts.ys[b, :t])
    return preds


def members_of(family, task):
    """Every member of a family's sweeps."""
    return [member for sweep in family.sweeps(task) for member in sweep.members()]


def rotated(prompts, seed):
    """The same prompts in other coordinates of x, reflections included."""
    d = prompts.n_dims
    rng = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=rng)).Q
    return Prompts(prompts.xs @ Q, prompts.ys, None if prompts.w is None else prompts.w @ Q)
