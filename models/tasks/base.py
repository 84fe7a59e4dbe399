"""What every task is: a seeded source of prompts, the loss on them, and the learners to hold a model against."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Generator, Tensor

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError
from mesascope.models.inputs import Gaussian, Inputs, Mixture, OneHot, describe_inputs
from mesascope.models.learners.base import Learner
from mesascope.models.prompts import Prompts
from mesascope.models.spectra import Fixed
from mesascope.models.streams import BLOCK, generator


class Task(Config, ABC):
    """A seeded source of prompts; subclasses add a literal `name`, by which YAML and JSON tell them apart."""

    name: str
    n_dims: int = Field(5, ge=1)
    n_points: int = Field(20, ge=1)

    def sample(
        self,
        n_prompts: int,
        *,
        seed: int,
        stream: str = "eval",
        start: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        n_active: int | None = None,
    ) -> Prompts:
        """Prompts number start … start+n_prompts-1 of a stream.

        Prompt i of (seed, stream) is the same whatever batch it comes in. It differs between kinds of device, whose
        generators differ. Numbers are drawn in float64 and then cast.

        Args:
            n_prompts: How many.
            seed: With `stream` and the index, all that a prompt depends on.
            stream: Streams never share a prompt.
            start: Index of the first.
            device: Where they are drawn.
            dtype: What they are cast to.
            n_active: Coordinates of x that are not held at zero (all by default), as a curriculum asks.

        Raises:
            MesascopeError: There is nothing to draw, or `start` is negative.
        """
        if n_prompts < 1 or start < 0:
            raise MesascopeError(f"n_prompts={n_prompts}, start={start}: expected n_prompts >= 1 and start >= 0")
        first, last = start // BLOCK, math.ceil((start + n_prompts) / BLOCK)
        active = self.n_dims if n_active is None else n_active
        blocks = [self.draw(BLOCK, generator(seed, stream, b, device=device), active) for b in range(first, last)]
        offset = start - first * BLOCK
        return Prompts.concat(blocks)[offset : offset + n_prompts].to(dtype)

    @abstractmethod
    def draw(self, n_prompts: int, rng: Generator, n_active: int) -> Prompts:
        """Draw prompts, float64, on the generator's device; coordinates of x from `n_active` on are zero."""

    @property
    @abstractmethod
    def null_loss(self) -> float:
        """The expected loss of predicting zero."""

    @abstractmethod
    def references(self) -> tuple[Learner, ...]:
        """The learners to hold a model against, the best first."""

    def reference(self) -> Learner:
        """The best of them that predicts all prompts at once, so that it can be asked often."""
        references = self.references()
        return next((learner for learner in references if learner.batched), references[0])

    @property
    def d_out(self) -> int:
        """How many numbers a prediction has."""
        return 1

    def loss(self, preds: Float[Tensor, "..."], ys: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """The loss at every point; the squared error unless the task says otherwise.

        Args:
            preds: `[…, n_read]`, or `[…, n_read, d_out]` where a prediction has several numbers.
            ys: `[…, n_read]`.
        """
        return (preds - ys).square()

    def scored(self, n_points: int) -> range:
        """The points whose loss counts, of those a model reads; all unless the task says otherwise."""
        return range(n_points)

    def counted(self, read: range, n_points: int) -> list[int]:
        """The points that count, of those at which a model predicts."""
        scored = self.scored(n_points)
        return [point for point in read if point in scored]

    def counted_losses(
        self, preds: Float[Tensor, "batch n_read *d_out"], ys: Float[Tensor, "batch n_points"], read: range
    ) -> Float[Tensor, "batch n_counted"]:
        """The loss at the points that count.

        Args:
            preds: Predictions at the points `read`.
            ys: At every point.
            read: The points at which the model predicts.
        """
        losses, counted = self.loss(preds, ys[:, read.start : read.stop]), self.counted(read, ys.shape[1])
        return losses if len(counted) == len(read) else losses[:, [point - read.start for point in counted]]

    @property
    def late(self) -> int:
        """From this point on there are examples enough to have learned the task."""
        return self.n_points // 2

    def components(self) -> dict[str, "Task"]:
        """The tasks that this one mixes, by name; itself alone if it mixes none."""
        return {self.name.replace("_", " "): self}


@lru_cache(maxsize=256)
def sampled_null_loss(task: Task) -> float:
    """The mean loss of predicting zero over 2^14 prompts of a stream of their own, for a task without a closed form.

    The same number every time; its standard error is about 1% of it. It takes a fraction of a second, once per task.
    """
    total = 0.0
    for start in range(0, 2**14, 2**10):
        ys = task.sample(2**10, seed=0, stream="null loss", start=start, dtype=torch.float64).ys
        zeros = torch.zeros_like(ys) if task.d_out == 1 else ys.new_zeros(*ys.shape, task.d_out)
        total += task.loss(zeros, ys).mean().item() / 2**4
    return total


@lru_cache(maxsize=256)
def sampled_curvature(task: Task) -> float:
    """The mean over 64 prompts of the largest eigenvalue of S/n: steps of gradient descent beyond 2 over it diverge."""
    xs = task.sample(64, seed=0, stream="curvature", dtype=torch.float64).xs
    return (torch.linalg.matrix_norm(xs, 2).square() / task.n_points).mean().item()


@dataclass(frozen=True)
class Function:
    """What one block of prompts has in common: a function for every prompt."""

    evaluate: Callable[[Float[Tensor, "n_prompts n_points n_dims"]], Float[Tensor, "n_prompts n_points"]]
    w: Float[Tensor, "n_prompts n_dims"] | None = None
    """Its weights, if it is linear."""


class Regression(Task):
    """y_i = f(x_i) + noise_std·ε_i, one function per prompt, scaled by w_std."""

    scales_with_w: ClassVar[bool] = True
    """Whether y scales with w_std."""
    linear: ClassVar[bool] = False
    """Whether y is a linear function of x, up to noise."""
    inputs: Inputs = Gaussian()
    w_std: float = Field(1.0, gt=0)
    """Scale of the function."""
    noise_std: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _inputs_fit(self) -> "Regression":
        inputs = self.inputs
        for part in inputs.components if isinstance(inputs, Mixture) else (getattr(inputs, "base", inputs),):
            spectrum = getattr(part, "spectrum", None)
            if isinstance(spectrum, Fixed) and len(spectrum.eigenvalues) != self.n_dims:
                raise ValueError(f"spectrum has {len(spectrum.eigenvalues)} eigenvalues but n_dims={self.n_dims}")
            if isinstance(part, OneHot) and part.n_dims != self.n_dims:
                raise ValueError(f"one-hot inputs have n_dims={part.n_dims} but the task n_dims={self.n_dims}")
        return self

    @abstractmethod
    def function(self, n_prompts: int, rng: Generator) -> Function:
        """Draw a function for every prompt, scaled by w_std."""

    def draw(self, n_prompts: int, rng: Generator, n_active: int) -> Prompts:
        """Draw functions, then points, then noise: so w_std and noise_std change nothing else."""
        function = self.function(n_prompts, rng)
        xs = self.inputs.sample(n_prompts, self.n_points, self.n_dims, rng)
        noise = torch.randn(n_prompts, self.n_points, generator=rng, device=rng.device, dtype=torch.float64)
        xs[..., n_active:] = 0
        return Prompts(xs, function.evaluate(xs) + self.noise_std * noise, function.w)

    def components(self) -> dict[str, Task]:
        """One task for each component of the inputs."""
        parts = self.inputs.components if isinstance(self.inputs, Mixture) else (self.inputs,)
        return {describe_inputs(part): self.model_copy(update={"inputs": part}) for part in parts}
