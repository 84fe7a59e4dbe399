"""The member of a family of constructions that is nearest to one layer's operator."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.sparse.linalg import svds
from torch import Tensor

from mesascope.analyses.matching.families import Family
from mesascope.probes import LayerOperator, TokenBasis

NO_STEP = 1e-3
"""η, in units of all that the layer writes, up to which no label is used."""
MANY = 32
"""Matrices from which on of all singular vectors only the first are computed."""


@dataclass(frozen=True)
class Nearest:
    """The member of a family that is nearest to an operator."""

    distance: float
    """‖T − T*‖/‖T‖, in [0, 1]."""
    OV: Float[Tensor, "n_value n_write"]
    QK: Float[Tensor, "n_query n_key"]
    """T* = OV ⊗ QK, scaled so that QK has the size of the identity on x, and a trace that is not negative."""
    scalars: dict[str, float]
    """What stands before each matrix of the family's values."""

    @property
    def steps(self) -> bool:
        """Whether it is a step at all: whether y reaches y."""
        return "η" not in self.scalars or abs(self.scalars["η"]) > NO_STEP * self.OV.norm().item()

    @property
    def from_x(self) -> float:
        """η |W0|, of the entries that lead from x to y."""
        return math.hypot(*(value for name, value in self.scalars.items() if name.startswith("W0")))


def find_nearest(operator: LayerOperator, family: Family, basis: TokenBasis) -> Nearest | None:
    """The nearest member: the first singular vectors of the operator projected on both spans.

    None where the family has nothing on these slots, such as a copy where there are no positions.

    Args:
        operator: Between the slots of `basis`, not zero.
        family: The constructions.
        basis: The layer's slots.
    """
    values, scores = family.values(basis), family.scores(basis)
    if not (len(values.names) and len(scores.names)):
        return None
    size, left, right = _first_singular(operator.against(values.matrices, scores.matrices))
    QK = torch.einsum("b,bij->ij", right, scores.matrices)
    n_x = sum(kind == "x" for kind, _ in basis.query.names)
    unit = QK.norm() / n_x**0.5 * (-1.0 if QK.diagonal().sum() < 0 else 1.0)
    along = size * unit * left
    return Nearest(
        distance=max(1 - (size / operator.norm) ** 2, 0.0) ** 0.5,
        OV=torch.einsum("a,aij->ij", along, values.matrices),
        QK=QK / unit,
        scalars={n: (a / size).item() for n, a, size in zip(values.names, along, values.sizes, strict=True)},
    )


def _first_singular(
    matrix: Float[Tensor, "rows cols"],
) -> tuple[float, Float[Tensor, " rows"], Float[Tensor, " cols"]]:
    """The first singular value and its vectors."""
    if min(matrix.shape) > MANY and matrix.any():
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
        start = wide[:, wide.norm(dim=0).argmax()]  # ARPACK would draw its own from a global generator
        parts = svds(matrix.cpu().numpy(), k=1, v0=start.cpu().numpy())
        U, S, Vh = (torch.from_numpy(part.copy()) for part in parts)
    else:
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return S[0].item(), U[:, 0].to(matrix), Vh[0].to(matrix)


def distance_to(operator: LayerOperator, family: Family, basis: TokenBasis) -> float:
    """That of the nearest member; 1 where there is none."""
    found = find_nearest(operator, family, basis) if operator.norm > 0 else None
    return 1.0 if found is None else found.distance
