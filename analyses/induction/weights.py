"""What the weights say of who reads whom, and the derivatives of the first layer."""

from dataclasses import dataclass
from typing import Any

from mesascope.analyses.claim import as_json
from mesascope.analyses.scope import Scope
from mesascope.probes import Estimate, block_sums, jackknife_ratio
from mesascope.probes.ablation import attention_layers
from mesascope.probes.composition import Composition, compose
from mesascope.probes.derivatives import copy_derivatives, token_derivatives
from mesascope.probes.token_roles import TokenRoles

N_DERIVED, N_TWIN, N_DIRECTIONS = 4, 2, 4
"""Prompts on which derivatives are taken, of the model and of each twin, and along how many random directions."""
MEASURED = ("previous", "following", "itself", "others")


@dataclass(frozen=True)
class ComposedLayers:
    """The composition of the heads of two layers, both from 0 on."""

    writer: int
    reader: int
    scores: Composition

    def data(self) -> dict[str, Any]:
        """All of it."""
        return {
            "layers": [self.writer + 1, self.reader + 1],
            "scores": dict(zip(("query", "key", "value"), self.scores.scores.tolist(), strict=True)),
            "chance": as_json(self.scores.chance),
        }


def composed_layers(scope: Scope) -> tuple[ComposedLayers, ...]:
    """Every pair of an earlier and a later layer; none of one whose heads are applied again and again."""
    model, layers = scope.hooked, attention_layers(scope.hooked)
    return tuple(
        ComposedLayers(writer, reader, compose(model, writer, reader, scope.seed))
        for place, writer in enumerate(layers)
        for reader in layers[place + 1 :]
    )


@dataclass(frozen=True)
class Derivatives:
    """‖∂ output of the first layer with heads/∂ token‖, the mean over prompts and tokens."""

    previous: Estimate
    """Of y's token by its own x."""
    following: Estimate
    """Of x's token by its own y."""
    itself: Estimate
    others: Estimate
    """The neighbour left out."""
    untrained: dict[str, tuple[float, ...]]
    """The same of untrained twins."""

    def data(self) -> dict[str, Any]:
        """All of it."""
        found = {name: as_json(getattr(self, name)) for name in MEASURED}
        return found | {"untrained": {name: list(values) for name, values in self.untrained.items()}}


def read_derivatives(scope: Scope, roles: TokenRoles) -> Derivatives:
    """The derivatives of a model on tokens of x and y, and of its untrained twins."""
    own = _means(scope, roles, N_DERIVED)
    twins = [_means(twin, roles, N_TWIN) for twin in scope.untrained]
    return Derivatives(**own, untrained={name: tuple(twin[name].value for twin in twins) for name in MEASURED})


def _means(scope: Scope, roles: TokenRoles, n_prompts: int) -> dict[str, Estimate]:
    norms = token_derivatives(
        scope.hooked, scope.prompts(n_prompts, "derivatives"), n_directions=N_DIRECTIONS, seed=scope.seed
    ).cpu()
    found = copy_derivatives(norms, roles)
    counts = block_sums(norms.new_ones(n_prompts), n_prompts)
    return {name: jackknife_ratio(getattr(found, name), counts) for name in MEASURED}
