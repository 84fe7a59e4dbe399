"""In-context linear regression: one weight vector per prompt."""

import math
from typing import Literal

import torch
from pydantic import Field, model_validator

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError
from mesascope.models.inputs import Gaussian, Inputs, Mixture, describe_inputs
from mesascope.models.prompts import Prompts
from mesascope.models.spectra import Fixed
from mesascope.models.streams import BLOCK, generator


class LinearRegression(Config):
    """y_i = w·x_i + noise_std·ε_i, w ~ N(0, w_std² I), one w per prompt.

    Source: Garg et al. (2022), section 3 (isotropic); von Oswald et al. (2023), section 3 (uniform x);
    Fu et al. (2024), section 4.3 (other spectra).
    """

    name: Literal["linear_regression"] = "linear_regression"
    n_dims: int = Field(5, ge=1)
    n_points: int = Field(20, ge=1)
    inputs: Inputs = Gaussian()
    w_std: float = Field(1.0, gt=0)
    noise_std: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _spectrum_fits(self) -> "LinearRegression":
        for part in self.inputs.components if isinstance(self.inputs, Mixture) else (self.inputs,):
            spectrum = getattr(part, "spectrum", None)
            if isinstance(spectrum, Fixed) and len(spectrum.eigenvalues) != self.n_dims:
                raise ValueError(f"spectrum has {len(spectrum.eigenvalues)} eigenvalues but n_dims={self.n_dims}")
        return self

    def sample(
        self,
        n_prompts: int,
        *,
        seed: int,
        stream: str = "eval",
        start: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Prompts:
        """Prompts number start … start+n_prompts-1 of a stream.

        Prompt i of (seed, stream) is the same whatever batch it comes in. It differs between kinds of device, whose
        generators differ. Numbers are drawn in float64 and then cast.

        Raises:
            MesascopeError: There is nothing to draw, or `start` is negative.
        """
        if n_prompts < 1 or start < 0:
            raise MesascopeError(f"n_prompts={n_prompts}, start={start}: expected n_prompts >= 1 and start >= 0")
        first, last = start // BLOCK, math.ceil((start + n_prompts) / BLOCK)
        blocks = [self._block(generator(seed, stream, block, device=device)) for block in range(first, last)]
        offset = start - first * BLOCK
        return Prompts.concat(blocks)[offset : offset + n_prompts].to(dtype)

    def _block(self, rng: torch.Generator) -> Prompts:
        # Noise comes last, so that noise_std and w_std change neither x nor the direction of w.
        w = self.w_std * torch.randn(BLOCK, self.n_dims, generator=rng, device=rng.device, dtype=torch.float64)
        xs = self.inputs.sample(BLOCK, self.n_points, self.n_dims, rng)
        noise = torch.randn(BLOCK, self.n_points, generator=rng, device=rng.device, dtype=torch.float64)
        return Prompts(xs, torch.einsum("bnd,bd->bn", xs, w) + self.noise_std * noise, w)

    @property
    def null_loss(self) -> float:
        """E y², the mean squared error of predicting zero."""
        return self.w_std**2 * self.n_dims * self.inputs.mean_square + self.noise_std**2

    def components(self) -> dict[str, "LinearRegression"]:
        """The tasks that this one mixes, by name; itself alone if it mixes none."""
        if not isinstance(self.inputs, Mixture):
            return {describe_inputs(self.inputs): self}
        return {describe_inputs(part): self.model_copy(update={"inputs": part}) for part in self.inputs.components}
