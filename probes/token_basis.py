"""Where tokens hold x and y in the residual stream that a layer reads and writes."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.errors import MesascopeError
from mesascope.models.interfaces import AffineReadOut
from mesascope.models.regressor import HookedRegressor


@dataclass(frozen=True)
class Slots:
    """Named directions of the residual stream, one a row."""

    names: tuple[tuple[str, int], ...]
    """("x", i), ("y", i) or ("position", i)."""
    directions: Float[Tensor, "n_slots d_model"]

    def only(self, *kinds: str) -> "Slots":
        """Those of some kinds."""
        return self._at([row for row, (kind, _) in enumerate(self.names) if kind in kinds])

    def without(self, index: int) -> "Slots":
        """Those of all coordinates of x but one."""
        return self._at([row for row, name in enumerate(self.names) if name != ("x", index)])

    def _at(self, rows: list[int]) -> "Slots":
        return Slots(tuple(self.names[row] for row in rows), self.directions[rows])

    def places(self, kind: str) -> dict[int, int]:
        """Where the slots of a kind stand, by their index."""
        return {index: place for place, (other, index) in enumerate(self.names) if other == kind}

    def dual(self, among: "Slots") -> Float[Tensor, "d_model n_slots"]:
        """Columns that have product 1 with these directions, each with its own, and 0 with all others among them.

        What a token holds in some slots is its stream times this; of slots that are read off, this is what to add to
        the stream. Directions that are none of the others, such as a learned read-out's, stand alone.
        """
        rows = [among.names.index(name) for name in self.names if name in among.names]
        if len(rows) < len(self.names) or not torch.equal(among.directions[rows], self.directions):
            return torch.linalg.pinv(self.directions)
        return torch.linalg.pinv(among.directions)[:, rows]


@dataclass(frozen=True)
class TokenBasis:
    """The slots that a layer's queries, keys and values hold, and those that it writes.

    For queries, keys and values a direction is what a unit in the slot adds to the stream; for writes it is what the
    slot is read off by. `LayerOperator.seen` is the layer between slots.
    """

    query: Slots
    key: Slots
    value: Slots
    write: Slots

    @staticmethod
    def of(held: Slots) -> "TokenBasis":
        """The same slots for all, read off by the pseudoinverse."""
        return TokenBasis(held, held, held, replace(held, directions=torch.linalg.pinv(held.directions).mT))

    def without(self, index: int) -> "TokenBasis":
        """All coordinates of x but one."""
        return TokenBasis(*(slots.without(index) for slots in (self.query, self.key, self.value, self.write)))


def token_basis(model: HookedRegressor) -> TokenBasis:
    """The slots of tokens that hold x and y, and their position code.

    Tokens that are the residual stream, or that a read-in of their own width maps into it, have slots (x, y). Behind a
    wider or deeper read-in, where the read-out is a slot, x is whatever else the stream holds: learned features.

    Raises:
        MesascopeError: x and y of a point are not in one token, or the read-in merges slots.
    """
    cfg = model.cfg
    if cfg.layout not in ("joint", "separate") or cfg.block != "transformer":
        raise MesascopeError(
            f"the tokens of this model ({cfg.layout}, {cfg.block}) hold no x beside its y, so that there is no basis "
            "of slots; fit one to its activations with fit_token_bases(scope)"
        )
    width = cfg.d_model - cfg.d_position
    names = [*(("x", i) for i in range(cfg.n_dims)), *(("y", i) for i in range(cfg.d_y))]
    if cfg.read_in == "slots":
        held = torch.eye(len(names), dtype=torch.float64)
    elif cfg.read_out == "slots" and width > len(names):
        names = [*(("x", i) for i in range(width - cfg.d_y)), *(("y", i) for i in range(cfg.d_y))]
        held = torch.eye(width, dtype=torch.float64)
    else:
        held = model.embed.W_E.detach().double().cpu()
        if torch.linalg.matrix_rank(held) < len(names):
            raise MesascopeError(
                f"the read-in has rank {int(torch.linalg.matrix_rank(held))} for {len(names)} slots of a token, so "
                "that x and y cannot be told apart behind it; fit a basis with fit_token_bases(scope)"
            )
    directions = torch.block_diag(held, torch.eye(cfg.d_position, dtype=torch.float64))
    names += [("position", i) for i in range(cfg.d_position)]
    slots = Slots(tuple(names), directions.to(next(model.parameters()).device))
    basis = TokenBasis.of(slots)
    if cfg.read_out == "slots":
        # y is read where the model reads it: behind a read-in to y − w0·x, what is written to x does not change it.
        first = [kind for kind, _ in names].index("y")
        basis.write.directions[first : first + cfg.d_y] = torch.eye(cfg.d_model).to(directions)[
            cfg.y_slot : cfg.y_slot + cfg.d_y
        ]
    return basis


def reachable(basis: TokenBasis, model: HookedRegressor, layer: int) -> TokenBasis:
    """The slots of one layer that can reach the prediction.

    Nobody reads what the last layer with attention writes but the read-out, unless the layer is tied to layers before
    it, or an MLP or a norm reads it: there "y" is what is read, with a minus as in the slot that holds y − ŷ. In the
    only layer, the query alone asks for what is read, and its y is zero, unless something was added to it.
    """
    cfg, query, write = model.cfg, basis.query, basis.write
    layers = [index for index, kind in enumerate(cfg.attentions) if kind != "none"]
    last = layer == layers[-1] and not any(cfg.mlp_widths[layer:]) and not cfg.final_norm
    if last and (len(layers) == 1 or not cfg.tied):
        write = write.only("y")
        if isinstance(model.unembed, AffineReadOut):
            names = tuple(("y", index) for index in range(cfg.d_out))
            write = Slots(names, -model.unembed.W_U.detach().to(write.directions).mT)
    plain = cfg.read_in == "slots" or (cfg.d_model == cfg.d_token + cfg.d_position and not model.embed.b_E.any())
    unchanged = plain and not cfg.layer_norm and cfg.positions != "learned" and not any(cfg.mlp_widths[:layer])
    if len(layers) == 1 and unchanged:
        query = query.only("x", "position")
    return replace(basis, query=query, write=write)
