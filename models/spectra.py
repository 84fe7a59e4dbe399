"""Spectra of the input covariance Σ, every one with trace n_dims, so that E|x|² is the same for all."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError


def trace_to_dims(raw: Float[Tensor, "n_prompts n_dims"]) -> Float[Tensor, "n_prompts n_dims"]:
    """Scale each spectrum to trace n_dims."""
    return raw * raw.shape[-1] / raw.sum(-1, keepdim=True)


class Isotropic(Config):
    """Σ = I."""

    kind: Literal["isotropic"] = "isotropic"

    def sample(self, n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims"]:
        """Eigenvalues of Σ for each prompt, float64."""
        return torch.ones(n_prompts, n_dims, device=rng.device, dtype=torch.float64)


class Geometric(Config):
    """Eigenvalues in geometric progression; the largest is kappa times the smallest."""

    kind: Literal["geometric"] = "geometric"
    kappa: float = Field(ge=1)

    def sample(self, n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims"]:
        """Eigenvalues of Σ for each prompt, float64."""
        exponents = torch.linspace(0, 1, n_dims, device=rng.device, dtype=torch.float64)
        return trace_to_dims((self.kappa**-exponents).expand(n_prompts, n_dims))


class LogUniform(Config):
    """Eigenvalues drawn log-uniformly from [1/kappa, 1], anew for every prompt, then scaled to trace n_dims."""

    kind: Literal["log_uniform"] = "log_uniform"
    kappa: float = Field(ge=1)

    def sample(self, n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims"]:
        """Eigenvalues of Σ for each prompt, float64."""
        u = torch.rand(n_prompts, n_dims, generator=rng, device=rng.device, dtype=torch.float64)
        return trace_to_dims(self.kappa**-u)


class TwoLevel(Config):
    """The first half of the eigenvalues is `ratio` times the rest (1.98 and 0.0198 at the default and even n_dims).

    Source: Fu et al. (2024), section 4.3; departure: a new basis for every prompt, as its text says (its code draws
    one per batch).
    """

    kind: Literal["two_level"] = "two_level"
    ratio: float = Field(100.0, ge=1)

    def sample(self, n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims"]:
        """Eigenvalues of Σ for each prompt, float64."""
        raw = torch.ones(n_prompts, n_dims, device=rng.device, dtype=torch.float64)
        raw[:, : n_dims // 2] = self.ratio
        return trace_to_dims(raw)


class HalfSubspace(Config):
    """The first half of the eigenvalues is equal, the rest zero: x lies in a subspace (of one dimension more if odd).

    Source: Garg et al. (2022), section 4.
    """

    kind: Literal["half_subspace"] = "half_subspace"

    def sample(self, n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims"]:
        """Eigenvalues of Σ for each prompt, float64."""
        raw = torch.zeros(n_prompts, n_dims, device=rng.device, dtype=torch.float64)
        raw[:, : (n_dims + 1) // 2] = 1
        return trace_to_dims(raw)


class Skewed(Config):
    """Eigenvalue i is proportional to 1/(i+1)², for i = 0, 1 and so on.

    Source: Garg et al. (2022), section 4, where the *transformation* of x has the eigenvalues 1/(i+1), and so Σ their
    squares: condition n_dims².
    """

    kind: Literal["skewed"] = "skewed"

    def sample(self, n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims"]:
        """Eigenvalues of Σ for each prompt, float64."""
        index = torch.arange(1, n_dims + 1, device=rng.device, dtype=torch.float64)
        return trace_to_dims((index**-2).expand(n_prompts, n_dims))


class Fixed(Config):
    """Given eigenvalues, scaled to trace n_dims."""

    kind: Literal["fixed"] = "fixed"
    eigenvalues: tuple[float, ...] = Field(min_length=1)

    def sample(self, n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims"]:
        """Eigenvalues of Σ for each prompt, float64.

        Raises:
            MesascopeError: The number of eigenvalues is not n_dims, or one is negative, or all are zero.
        """
        raw = torch.tensor(self.eigenvalues, device=rng.device, dtype=torch.float64)
        if len(raw) != n_dims or (raw < 0).any() or raw.sum() == 0:
            raise MesascopeError(
                f"spectrum has eigenvalues {self.eigenvalues} for n_dims={n_dims}; "
                "give one non-negative number per dimension, not all zero"
            )
        return trace_to_dims(raw.expand(n_prompts, n_dims))


Spectrum = Annotated[
    Isotropic | Geometric | LogUniform | TwoLevel | HalfSubspace | Skewed | Fixed, Field(discriminator="kind")
]
"""Any spectrum; `kind` says which in YAML and JSON."""
