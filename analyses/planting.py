"""What tests by planting have in common: scalars drawn at random, and cases counted by kind."""

import math
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch


@runtime_checkable
class PlantedCase(Protocol):
    """Something that was planted, and whether the tool made of it what it should."""

    @property
    def kind(self) -> str:
        """What was planted, without its scalars."""
        ...

    @property
    def right(self) -> bool:
        """Whether it was found, or nothing where there was nothing."""
        ...


C = TypeVar("C", bound=PlantedCase)


@dataclass(frozen=True)
class PlantedTest(Generic[C]):
    """Every case."""

    cases: tuple[C, ...]
    seed: int

    @property
    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Right verdicts and cases of each kind."""
        kinds = dict.fromkeys(case.kind for case in self.cases)
        rows = {kind: [case.right for case in self.cases if case.kind == kind] for kind in kinds}
        return {kind: (sum(row), len(row)) for kind, row in rows.items()}


@dataclass(frozen=True)
class Draw:
    """Scalars from one generator."""

    rng: torch.Generator

    def uniform(self, low: float, high: float) -> float:
        """Evenly between two numbers."""
        return low + (high - low) * torch.rand((), generator=self.rng).item()

    def log_uniform(self, low: float, high: float) -> float:
        """Evenly on a logarithmic scale."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def whole(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(torch.randint(low, high + 1, (), generator=self.rng))
