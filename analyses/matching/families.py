"""The sets of operators that constructions of gradient descent fill as their free scalars move."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.probes import Slots, TokenBasis


@dataclass(frozen=True)
class Span:
    """Orthogonal matrices, each of norm 1."""

    names: tuple[str, ...]
    """The scalar that stands before each."""
    sizes: tuple[float, ...]
    """Their norms before."""
    matrices: Float[Tensor, "n rows cols"]

    @staticmethod
    def of(names: list[str], matrices: Float[Tensor, "n rows cols"]) -> "Span":
        """Orthogonal matrices, normalised; zeros are left out."""
        norms = matrices.flatten(1).norm(dim=1)
        kept = [index for index, norm in enumerate(norms.tolist()) if norm > 0]
        sizes = norms[kept]
        return Span(tuple(names[index] for index in kept), tuple(sizes.tolist()), matrices[kept] / sizes[:, None, None])

    def __add__(self, other: "Span") -> "Span":
        return Span(self.names + other.names, self.sizes + other.sizes, torch.cat([self.matrices, other.matrices]))


@dataclass(frozen=True)
class Family:
    """All OV ⊗ QK with OV in the span of some matrices and QK in that of others: one head that runs a construction.

    With its free scalars (η, γ and W0 from values to writes, A between queries and keys) this is a linear space of
    either factor, so that the nearest member is a singular vector: no search, no local optimum.
    """

    name: str
    values: Callable[[TokenBasis], Span]
    """From values to writes; scalars are in units of 1/n."""
    scores: Callable[[TokenBasis], Span]
    """Between queries and keys."""
    simpler: tuple[str, ...] = ()
    """The families inside this one."""
    signed: tuple[str, ...] = ("η", "γ")
    """Scalars whose sign means something: beside a preconditioner, which has one of its own, they are sizes."""


def _identity(rows: Slots, cols: Slots, kind: str, symbol: str, sign: float = 1.0) -> Span:
    """One matrix: each slot of a kind to itself."""
    mine, theirs = rows.places(kind), cols.places(kind)
    matrix = torch.zeros(1, len(rows.names), len(cols.names), dtype=torch.float64)
    for index in mine.keys() & theirs.keys():
        matrix[0, mine[index], theirs[index]] = sign
    return Span.of([symbol], matrix)


def _pairs(rows: Slots, cols: Slots, kinds: tuple[str, str], symbol: str) -> Span:
    """One matrix for every pair of slots of two kinds."""
    pairs = [(a, b) for a in rows.places(kinds[0]).items() for b in cols.places(kinds[1]).items()]
    matrices = torch.zeros(len(pairs), len(rows.names), len(cols.names), dtype=torch.float64)
    for entry, ((_, row), (_, col)) in enumerate(pairs):
        matrices[entry, row, col] = 1.0
    return Span.of([f"{symbol}[{a},{b}]" for (a, _), (b, _) in pairs], matrices)


def gradient_step(basis: TokenBasis) -> Span:
    """η: y is written with a minus (the slot holds y − ŷ); and η W0, from x to y."""
    value, write = basis.value, basis.write
    return _identity(value, write, "y", "η", -1.0) + _pairs(value, write, ("x", "y"), "W0")


def _contraction(basis: TokenBasis) -> Span:
    """γ: x is written with a minus."""
    return _identity(basis.value, basis.write, "x", "γ", -1.0)


def _inner_product(basis: TokenBasis) -> Span:
    return _identity(basis.query, basis.key, "x", "I")


def _preconditioner(basis: TokenBasis) -> Span:
    return _pairs(basis.query, basis.key, ("x", "x"), "A")


COPY = "neighbour copy"
FAMILIES = (
    Family("GD", gradient_step, _inner_product),
    Family("GD++", lambda basis: gradient_step(basis) + _contraction(basis), _inner_product, ("GD",)),
    Family("preconditioned GD", gradient_step, _preconditioner, ("GD",), signed=()),
    Family(
        "preconditioned GD++",
        lambda basis: gradient_step(basis) + _pairs(basis.value, basis.write, ("x", "x"), "P"),
        _preconditioner,
        ("GD", "GD++", "preconditioned GD"),
        signed=(),
    ),
    Family(
        COPY,
        lambda basis: _identity(basis.value, basis.write, "x", "copy"),
        lambda basis: _pairs(basis.query, basis.key, ("position", "position"), "position"),
    ),
)
"""Von Oswald et al. (2023), propositions 1 and 3 and appendix A.10 (GD, W0, GD++); Ahn et al. (2023), theorems 1 and 4
(a preconditioner A; with x-updates P); von Oswald et al. (2023), section 5 (the copy layer). The simpler come first."""
