"""A residual stream of named slots, and the maps between them in which constructions are written."""

import torch
from jaxtyping import Float
from torch import Tensor

Map = Float[Tensor, "rows cols"]
"""What a product of weights is: of the whole stream, rows in, columns out."""
Block = Float[Tensor, "width_in width_out"]
"""What becomes of one slot in another."""


class ResidualStream:
    """Named slots of the residual stream, side by side in the order in which they are given.

    Maps act on rows, h M, as TransformerLens' weights do. The papers' E(a←b) acts on columns: `copy("b", to="a")` is
    its transpose. Everything is float64.

    Args:
        widths: The width of each slot, by name.
    """

    def __init__(self, **widths: int):
        self.slots: dict[str, slice] = {}
        self.d_model = 0
        for name, width in widths.items():
            self.slots[name] = slice(self.d_model, self.d_model + width)
            self.d_model += width

    def copy(self, source: str, to: str, by: Block | None = None) -> Map:
        """E(to←source): add what one slot holds to another, by a map on rows if it is not to be copied as it is."""
        return _block(self, source, self, to, by)

    def match(self, query: str, key: str, by: Block | None = None) -> Map:
        """Q = E(query), K = E(key): the W_Q W_Kᵀ that scores what a query holds in one slot against what a key holds.

        With `by`, it is the query's row times that map which is scored.
        """
        return _block(self, query, self, key, by)

    def embed(self, tokens: "ResidualStream", **sources: str) -> Map:
        """W_E that fills slots with what parts of a token hold, such as `xk="x"`; the token is a stream itself."""
        return torch.stack([_block(tokens, source, self, slot) for slot, source in sources.items()]).sum(0)

    def read(self, slot: str) -> Map:
        """W_U that reads one slot."""
        return torch.eye(self.d_model, dtype=torch.float64)[:, self.slots[slot]]


def _block(left: ResidualStream, row: str, right: ResidualStream, col: str, by: Block | None = None) -> Map:
    """Zero but for the block from one slot to another."""
    out = torch.zeros(left.d_model, right.d_model, dtype=torch.float64)
    rows, cols = left.slots[row], right.slots[col]
    out[rows, cols] = torch.eye(rows.stop - rows.start, dtype=torch.float64) if by is None else by
    return out
