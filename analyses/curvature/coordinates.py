"""The x of tokens in the residual stream: how it is read, and how it is taken out of an update."""

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.probes import TokenBasis


def reading_x(basis: TokenBasis) -> Float[Tensor, "d_model n_dims"]:
    """What a token holds of x is its stream times this, and so is what an update adds to x."""
    return basis.value.only("x").dual(basis.value)


def without_x(basis: TokenBasis) -> Float[Tensor, "d_model d_model"]:
    """An update times this changes x no longer, and the slot of y as before, where the model reads that."""
    x, y = reading_x(basis), basis.write.only("y").directions.mT
    along = torch.linalg.pinv(torch.cat([x, y], dim=1))  # what adds one to one of them and nothing to the others
    return torch.eye(len(x)).to(x) - x @ along[: x.shape[1]]
