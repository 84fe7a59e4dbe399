"""Distributions of the inputs x: what a prompt's points look like before any weight vector touches them."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError
from mesascope.models.spectra import Isotropic, LogUniform, Spectrum
from mesascope.models.streams import generator


def random_bases(n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "n_prompts n_dims n_dims"]:
    """Haar-distributed orthogonal matrices, one per prompt."""
    q, r = torch.linalg.qr(
        torch.randn(n_prompts, n_dims, n_dims, generator=rng, device=rng.device, dtype=torch.float64)
    )
    # QR alone is not Haar: LAPACK fixes the signs of R's diagonal, so they are moved into Q.
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]


class Gaussian(Config):
    """x ~ N(0, scale² Σ), Σ = B diag(spectrum) Bᵀ with trace n_dims."""

    kind: Literal["gaussian"] = "gaussian"
    spectrum: Spectrum = Isotropic()
    basis: Literal["prompt", "fixed", "axes"] = "prompt"
    """B: a fresh random basis for every prompt, one random basis for all of them, or the coordinate axes."""
    scale: float = Field(1.0, gt=0)

    @property
    def mean_square(self) -> float:
        """E x_i², averaged over the coordinates."""
        return self.scale**2

    def sample(
        self, n_prompts: int, n_points: int, n_dims: int, rng: Generator
    ) -> Float[Tensor, "n_prompts n_points n_dims"]:
        """Draw the points of `n_prompts` prompts, float64."""
        z = torch.randn(n_prompts, n_points, n_dims, generator=rng, device=rng.device, dtype=torch.float64)
        if isinstance(self.spectrum, Isotropic):
            return self.scale * z
        eigenvalues = self.spectrum.sample(n_prompts, n_dims, rng)
        return self.scale * (z * eigenvalues.sqrt()[:, None, :]) @ self._bases(n_prompts, n_dims, rng).mT

    def _bases(self, n_prompts: int, n_dims: int, rng: Generator) -> Float[Tensor, "#n_prompts n_dims n_dims"]:
        if self.basis == "prompt":
            return random_bases(n_prompts, n_dims, rng)
        if self.basis == "axes":
            return torch.eye(n_dims, device=rng.device, dtype=torch.float64)[None]
        return random_bases(1, n_dims, generator(0, "fixed basis", n_dims)).to(rng.device)

    def covariance(self, n_dims: int) -> Float[Tensor, "n_dims n_dims"]:
        """E x xᵀ, float64, if it is the same for every prompt.

        Raises:
            MesascopeError: It is drawn anew for every prompt.
        """
        if isinstance(self.spectrum, Isotropic):
            return self.scale**2 * torch.eye(n_dims, dtype=torch.float64)
        if self.basis == "prompt" or isinstance(self.spectrum, LogUniform):
            raise MesascopeError(
                f"{describe_inputs(self)} has another covariance for every prompt; expected isotropic inputs, or a "
                "spectrum that is not random with basis 'fixed' or 'axes'"
            )
        rng = generator(0, "unused")
        B = self._bases(1, n_dims, rng)[0]
        return self.scale**2 * (B * self.spectrum.sample(1, n_dims, rng)) @ B.T


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

    def covariance(self, n_dims: int) -> Float[Tensor, "n_dims n_dims"]:
        """E x xᵀ, float64."""
        return self.mean_square * torch.eye(n_dims, dtype=torch.float64)

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

    def covariance(self, n_dims: int) -> Float[Tensor, "n_dims n_dims"]:
        """Never one for all prompts.

        Raises:
            MesascopeError: Always.
        """
        raise MesascopeError(
            f"{describe_inputs(self)} has another covariance for every prompt; expected inputs of one kind"
        )

    def sample(
        self, n_prompts: int, n_points: int, n_dims: int, rng: Generator
    ) -> Float[Tensor, "n_prompts n_points n_dims"]:
        """Draw the points of `n_prompts` prompts, float64."""
        pick = torch.randint(len(self.components), (n_prompts,), generator=rng, device=rng.device)
        draws = torch.stack([part.sample(n_prompts, n_points, n_dims, rng) for part in self.components])
        return draws[pick, torch.arange(n_prompts, device=rng.device)]


class OneHot(Config):
    """x = e_k, k uniform: tokens, written as in "induction is one gradient step on orthogonal tokens"."""

    kind: Literal["one_hot"] = "one_hot"
    n_dims: int = Field(ge=1)
    """The task's; it stands here because E x_i² = 1/n_dims depends on it."""

    @property
    def mean_square(self) -> float:
        """E x_i²."""
        return 1 / self.n_dims

    def covariance(self, n_dims: int) -> Float[Tensor, "n_dims n_dims"]:
        """E x xᵀ, float64 (its mean, 1/n_dims in every coordinate, is not subtracted)."""
        self._check(n_dims)
        return torch.eye(n_dims, dtype=torch.float64) / n_dims

    def sample(
        self, n_prompts: int, n_points: int, n_dims: int, rng: Generator
    ) -> Float[Tensor, "n_prompts n_points n_dims"]:
        """Draw the points of `n_prompts` prompts, float64.

        Raises:
            MesascopeError: The task has another n_dims.
        """
        self._check(n_dims)
        k = torch.randint(n_dims, (n_prompts, n_points), generator=rng, device=rng.device)
        return torch.nn.functional.one_hot(k, n_dims).double()

    def _check(self, n_dims: int) -> None:
        if n_dims != self.n_dims:
            raise MesascopeError(f"one_hot inputs have n_dims={self.n_dims} but the task has n_dims={n_dims}")


Context = Float[Tensor, "n_prompts n_context n_dims"]
Last = Float[Tensor, "n_prompts 1 n_dims"]


class Query(Config, ABC):
    """Inputs whose last point, the query, relates to the others, the context, in a way of its own.

    Without context (n_points=1) the query is as the base draws it. Every point keeps the base's E|x|², and with it
    E (w·x)². A curriculum that holds coordinates at zero does so afterwards, which may undo the relation.

    Source: Garg et al. (2022), section 4, and its code; departure: it draws another query for every prefix. To have
    its prompt of t examples, sample with n_points = t + 1.
    """

    kind: str
    base: Annotated[Gaussian | Uniform, Field(discriminator="kind")] = Gaussian()

    @property
    def mean_square(self) -> float:
        """E x_i², averaged over the coordinates; the base's."""
        return self.base.mean_square

    def covariance(self, n_dims: int) -> Float[Tensor, "n_dims n_dims"]:
        """There is none.

        Raises:
            MesascopeError: Always.
        """
        raise MesascopeError(
            f"{describe_inputs(self)} has points that depend on each other, so no one covariance; expected independent "
            "points, such as its base"
        )

    def sample(
        self, n_prompts: int, n_points: int, n_dims: int, rng: Generator
    ) -> Float[Tensor, "n_prompts n_points n_dims"]:
        """Draw the points of `n_prompts` prompts, float64."""
        xs = self.base.sample(n_prompts, n_points, n_dims, rng)
        context, query = xs[:, :-1], xs[:, -1:]
        return xs if n_points == 1 else torch.cat(self.relate(context, query, rng), dim=1)

    @abstractmethod
    def relate(self, context: Context, query: Last, rng: Generator) -> tuple[Context, Last]:
        """Change independent draws into a context and a query that belong together."""


def _orthants(points: Context, rng: Generator) -> Last:
    """One pattern of signs per prompt."""
    shape = (len(points), 1, points.shape[-1])
    return 2 * torch.randint(2, shape, generator=rng, device=rng.device, dtype=torch.float64) - 1


class RandomQuadrants(Query):
    """The context lies in one random orthant, the query anywhere."""

    kind: Literal["random_quadrants"] = "random_quadrants"

    def relate(self, context: Context, query: Last, rng: Generator) -> tuple[Context, Last]:
        """Reflect the context into the orthant."""
        return context.abs() * _orthants(context, rng), query


class OppositeQuadrants(Query):
    """The context lies in one random orthant, the query in the opposite one."""

    kind: Literal["opposite_quadrants"] = "opposite_quadrants"

    def relate(self, context: Context, query: Last, rng: Generator) -> tuple[Context, Last]:
        """Reflect the context into the orthant and the query out of it."""
        signs = _orthants(context, rng)
        return context.abs() * signs, -query.abs() * signs


class OrthogonalQuery(Query):
    """The query is orthogonal to all of the context, at the length it was drawn with: nothing can be known about it."""

    kind: Literal["orthogonal_query"] = "orthogonal_query"

    def relate(self, context: Context, query: Last, rng: Generator) -> tuple[Context, Last]:
        """Project the query off the span of the context and restore its length.

        Raises:
            MesascopeError: The context spans everything that the query could be.
        """
        n_context, n_dims = context.shape[1:]
        if n_context < n_dims:
            span = torch.linalg.qr(context.mT).Q
            outside = query
            for _ in range(2):  # twice is enough (Kahan): one projection leaves ε·|query| inside the span
                outside = outside - outside @ span @ span.mT
            norm = outside.norm(dim=-1, keepdim=True)
            if (norm > 1e-8 * query.norm(dim=-1, keepdim=True)).all():
                return context, outside * (query.norm(dim=-1, keepdim=True) / norm)
        raise MesascopeError(
            f"{describe_inputs(self)}: {n_context} points of context span all inputs of n_dims={n_dims}, so that "
            "nothing is orthogonal to them; take n_points <= n_dims, and <= the rank of the inputs' spectrum"
        )


class OverlappingQuery(Query):
    """The query is one of the context's points, each with the same probability."""

    kind: Literal["overlapping_query"] = "overlapping_query"

    def relate(self, context: Context, query: Last, rng: Generator) -> tuple[Context, Last]:
        """Replace the query."""
        n_prompts, n_context = context.shape[:2]
        pick = torch.randint(n_context, (n_prompts,), generator=rng, device=rng.device)
        return context, context[torch.arange(n_prompts, device=rng.device), pick][:, None]


_Queries = RandomQuadrants | OppositeQuadrants | OrthogonalQuery | OverlappingQuery
Inputs = Annotated[Gaussian | Uniform | OneHot | Mixture | _Queries, Field(discriminator="kind")]
"""Any input distribution; `kind` says which in YAML and JSON."""


def describe_inputs(inputs: Inputs | Query) -> str:
    """A short name for an input distribution, such as `gaussian log_uniform(kappa=30)`."""
    if isinstance(inputs, Query):
        return f"{inputs.kind} of {describe_inputs(inputs.base)}"
    fields = inputs.model_dump(exclude={name for name in ("basis", "scale") if _is_default(inputs, name)})
    spectrum = fields.pop("spectrum", None)
    parts = [fields.pop("kind")]
    if isinstance(inputs, Mixture):
        return " | ".join(describe_inputs(part) for part in inputs.components)
    if spectrum is not None:
        kind = spectrum.pop("kind")
        parts.append(kind + _arguments(spectrum))
    return " ".join(parts) + _arguments(fields)


def _is_default(inputs: Inputs, name: str) -> bool:
    field = type(inputs).model_fields.get(name)
    return field is not None and getattr(inputs, name) == field.default


def _arguments(fields: dict[str, object]) -> str:
    values = ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in fields.items()
    )
    return f"({values})" if values else ""
