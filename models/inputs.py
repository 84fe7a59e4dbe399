"""Distributions of the inputs x: what a prompt's points look like before any weight vector touches them."""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor

from mesascope.models.config import Config
from mesascope.models.spectra import Isotropic, Spectrum


def random_bases(n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims n_dims"]:
    """Haar-distributed orthogonal matrices, one per prompt."""
    q, r = torch.linalg.qr(
        torch.randn(n_prompts, n_dims, n_dims, generator=rng, device=rng.device, dtype=torch.float64)
    )
    # QR alone is not Haar: LAPACK fixes the signs of R's diagonal, so they are moved into Q.
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]


class Gaussian(Config):
    """x ~ N(0, Σ), Σ = B diag(spectrum) Bᵀ with a fresh random basis B for every prompt; trace Σ = n_dims."""

    kind: Literal["gaussian"] = "gaussian"
    spectrum: Spectrum = Isotropic()

    @property
    def mean_square(self) -> float:
        """E x_i², averaged over the coordinates."""
        return 1.0

    def sample(
        self, n_prompts: int, n_points: int, n_dims: int, rng: Generator
    ) -> Float[Tensor, "n_prompts n_points n_dims"]:
        """Draw the points of `n_prompts` prompts, float64."""
        z = torch.randn(n_prompts, n_points, n_dims, generator=rng, device=rng.device, dtype=torch.float64)
        if isinstance(self.spectrum, Isotropic):
            return z
        eigenvalues = self.spectrum.sample(n_prompts, n_dims, rng)
        return (z * eigenvalues.sqrt()[:, None, :]) @ random_bases(n_prompts, n_dims, rng).mT


class Uniform(Config):
    """x ~ U(-half_width, half_width)^n_dims.

    Von Oswald's code has half_width=0.5 (its paper says U(-1, 1)).
    """

    kind: Literal["uniform"] = "uniform"
    half_width: float = Field(1.0, gt=0)

    @property
    def mean_square(self) -> float:
        """E x_i²."""
        return self.half_width**2 / 3

    def sample(
        self, n_prompts: int, n_points: int, n_dims: int, rng: Generator
    ) -> Float[Tensor, "n_prompts n_points n_dims"]:
        """Draw the points of `n_prompts` prompts, float64."""
        u = torch.rand(n_prompts, n_points, n_dims, generator=rng, device=rng.device, dtype=torch.float64)
        return self.half_width * (2 * u - 1)


class Mixture(Config):
    """Every prompt takes one of the components, each with the same probability."""

    kind: Literal["mixture"] = "mixture"
    components: tuple[Annotated[Gaussian | Uniform, Field(discriminator="kind")], ...] = Field(min_length=2)

    @property
    def mean_square(self) -> float:
        """E x_i², averaged over the components."""
        return math.fsum(part.mean_square for part in self.components) / len(self.components)

    def sample(
        self, n_prompts: int, n_points: int, n_dims: int, rng: Generator
    ) -> Float[Tensor, "n_prompts n_points n_dims"]:
        """Draw the points of `n_prompts` prompts, float64."""
        pick = torch.randint(len(self.components), (n_prompts,), generator=rng, device=rng.device)
        draws = torch.stack([part.sample(n_prompts, n_points, n_dims, rng) for part in self.components])
        return draws[pick, torch.arange(n_prompts, device=rng.device)]


Inputs = Annotated[Gaussian | Uniform | Mixture, Field(discriminator="kind")]
"""Any input distribution; `kind` says which in YAML and JSON."""


def describe_inputs(inputs: Inputs) -> str:
    """A short name for an input distribution, such as `gaussian log_uniform(kappa=30)`."""
    fields = inputs.model_dump()
    spectrum = fields.pop("spectrum", None)
    parts = [fields.pop("kind")]
    if isinstance(inputs, Mixture):
        return " | ".join(describe_inputs(part) for part in inputs.components)
    if spectrum is not None:
        kind = spectrum.pop("kind")
        parts.append(kind + _arguments(spectrum))
    return " ".join(parts) + _arguments(fields)


def _arguments(fields: dict[str, object]) -> str:
    values = ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in fields.items()
    )
    return f"({values})" if values else ""
