"""Prompts with an ill-conditioned S, and noise, both from a seed."""

import torch

from mesascope.models import LinearRegression
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform


def sampled(n_prompts=1000, kappa=30.0, noise_std=0.0, seed=0, n_dims=5, n_points=16):
    task = LinearRegression(
        n_dims=n_dims, n_points=n_points, inputs=Gaussian(spectrum=LogUniform(kappa=kappa)), noise_std=noise_std
    )
    return task.sample(n_prompts, seed=seed, dtype=torch.float64)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
