"""Do the weights hold a construction? Distance to what provably runs an algorithm, free of gauge."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from mesascope.analyses.claim import Claim, Figure, Result, fixed
from mesascope.analyses.matching.bases import fit_token_bases
from mesascope.analyses.matching.chance import RandomLayers
from mesascope.analyses.matching.families import COPY, FAMILIES
from mesascope.analyses.matching.layer_comparison import inside_share, match_layer
from mesascope.analyses.matching.layer_match import NOTHING, LayerMatch
from mesascope.analyses.matching.whole import WholeMatch, constructions_of, match_whole
from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor, MesascopeError
from mesascope.models.attention import Attention, LinearAttention
from mesascope.models.tasks import Regression
from mesascope.probes import LayerOperator, TokenBasis, reachable, token_basis


@dataclass(frozen=True)
class Matching(Result):
    """Every layer's weights beside every construction."""

    name: ClassVar[str] = "matching"
    title: ClassVar[str] = "Which construction?"
    question: ClassVar[str] = "Do the weights of each layer hold a construction that runs an algorithm?"
    evidence = "weights"

    layers: tuple[LayerMatch, ...]
    """Layer by layer against the families of gradient descent; none where tokens hold no x and y."""
    whole: WholeMatch | None
    """All weights against a construction that needs this architecture; None if none does."""
    n_context: int | None
    seed: int

    @property
    def family(self) -> str | None:
        """The simplest family that holds every layer behind those that copy."""
        steps = [layer.verdict for layer in self.layers if layer.verdict != COPY]
        return next((f.name for f in FAMILIES if steps and all(step in (f.name, *f.simpler) for step in steps)), None)

    @property
    def verdict(self) -> str:
        """The construction that holds all weights, or so many steps of the family that holds all layers.

        Else every layer's verdict, equal neighbours together.
        """
        if self.whole is not None and (self.whole.named or not self.layers):
            return self.whole.name if self.whole.named else NOTHING
        if self.family is None:
            runs = [(verdict, len(list(run))) for verdict, run in groupby(layer.verdict for layer in self.layers)]
            return ", then ".join(f"{verdict} ({n} layers)" if n > 1 else verdict for verdict, n in runs)
        n_steps = sum(layer.verdict != COPY for layer in self.layers)
        copies = [COPY] * (n_steps < len(self.layers))
        return ", then ".join([*copies, f"{n_steps} step{'s' if n_steps > 1 else ''} of {self.family}"])

    @property
    def distances(self) -> dict[str, float]:
        """(Σ_l ‖T_l − T_l*‖² / Σ_l ‖T_l‖²)^½ of every family that all layers could hold."""
        total = sum(layer.norm**2 for layer in self.layers)
        found = {}
        for family in FAMILIES:
            parts = [
                (match.distance.value * layer.norm) ** 2
                for layer in self.layers
                for match in layer.matches
                if match.family == family.name
            ]
            if total > 0 and len(parts) == sum(bool(layer.matches) for layer in self.layers):
                found[family.name] = (sum(parts) / total) ** 0.5
        return found

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What the weights hold together, then each layer, the first first."""
        return (self._model(), *(_claim(layer, self.n_context) for layer in self.layers))

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """All layers together."""
        return self.claims[:1]

    def _model(self) -> Claim:
        text, distances, whole = f"The weights: {self.verdict}", self.distances, self.whole
        if whole is not None and (whole.named or not self.layers):
            text += f"; {whole.name} with {whole.symbol} = {whole.scalar:.4g} leaves {whole.distance:.2g} of their norm"
            return Claim("matching.model", text + ".", whole.distance, None, whole.null, self.verdict)
        family = self.family or min(distances, key=lambda name: distances[name], default=None)
        if family is None:
            return Claim("matching.model", text + ".", None, None, None, self.verdict)
        nulls = [match.null for layer in self.layers for match in layer.matches if match.family == family]
        text += f"; over all layers, {family} leaves {distances[family]:.2g} of the norm of what can reach the output"
        if min(inside := [layer.inside for layer in self.layers if layer.matches]) < 0.99:
            least, most = (fixed(share, 2) for share in (min(inside), max(inside)))
            shares = least if least == most else f"{least} to {most}"
            text += f", where {shares} of a layer's squared norm lies between slots of tokens"
        return Claim("matching.model", text + ".", distances[family], None, min(nulls), self.verdict)

    def figures(self) -> tuple[Figure, ...]:
        """Distances and scalars by layer, and both products beside the construction's."""
        from mesascope.analyses.matching.figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every distance and scalar."""
        return {
            "seed": self.seed,
            "n_context": self.n_context,
            "verdict": self.verdict,
            "whole": None if self.whole is None else self.whole.data(),
            "distances": self.distances,
            "layers": [layer.data() for layer in self.layers],
        }


def _claim(layer: LayerMatch, n_context: int | None) -> Claim:
    best = layer.best
    if best is None:
        text = f"{layer.label.capitalize()} adds nothing that reaches the output: its weights are zero."
        return Claim(f"matching.{layer.label}", text, None, None, None, layer.verdict)
    scalars = ", ".join(
        f"{symbol} = {value.value:.4g} [{value.low:.4g}, {value.high:.4g}]" for symbol, value in best.scalars.items()
    )
    left, untrained = best.distance.value, min(best.untrained, default=1.0)
    text = (
        f"{layer.label.capitalize()}: {layer.verdict}; the nearest {best.family} leaves {left:.2g} of the norm of what "
        f"can reach the output (random weights {best.random:.2g}, untrained twins {untrained:.2g})"
    )
    if layer.inside < 0.99:
        text += f", where {fixed(layer.inside, 2)} of the layer's squared norm lies between slots of tokens"
    text += f"; {scalars}, over {n_context} points" if scalars and layer.named else ""
    return Claim(f"matching.{layer.label}", text + ".", best.distance.value, best.distance.ci, best.null, layer.verdict)


def match_weights(scope: Scope, seed: int | None = None, bases: Mapping[int, TokenBasis] | None = None) -> Matching:
    """Hold the weights of every attention layer against the constructions of gradient descent, whatever their gauge.

    A layer acts through T = Σ_h OV_h ⊗ QK_h alone. T is compared with the nearest member of every family
    (`families.FAMILIES`) on the entries that can reach the output, and its scalars are those of that member: η and γ on
    the mean loss, W0, and the preconditioner. Beside every distance stand those of random weights and of untrained
    twins.

    Args:
        scope: A hooked model.
        seed: Seed of the random weights; default the scope's.
        bases: The slots of each layer's tokens; default the model's own, or, where x and y of a point come in tokens
            of their own, `fit_token_bases(scope)`.

    Raises:
        MesascopeError: The model is a bare predictor, has no attention, holds NaN, or reads tokens without x and y; or
            there is a basis of no layer.
    """
    scope = scope.reseeded(seed)
    return scope.once(("matching",), lambda: _match(scope, None)) if bases is None else _match(scope, bases)


def holds_constructions(scope: Scope) -> bool:
    """Whether a model has attention on tokens that hold x and y, or the architecture of a construction."""
    if not isinstance(scope.model, HookedRegressor) or not scope.model.attentions:
        return False
    on_points = isinstance(scope.task, Regression) and scope.model.cfg.layout in ("joint", "separate", "interleaved")
    return on_points or bool(constructions_of(scope.model.cfg))


def _match(scope: Scope, bases: Mapping[int, TokenBasis] | None) -> Matching:
    model = scope.hooked
    operators = layer_operators(model)
    broken = [name for name, weight in model.weights.items() if not weight.isfinite().all()]
    if broken:
        raise MesascopeError(
            f"{scope.source} holds NaN or infinity in {', '.join(broken[:3])}; attach a sound checkpoint"
        )
    if bases is not None and not operators.keys() & bases.keys():
        raise MesascopeError(
            f"bases are of the layers {sorted(bases)}, but those with attention are {sorted(operators)}; give theirs"
        )
    whole = match_whole(model, [twin.hooked for twin in scope.untrained])
    if bases is None:
        # Scratch tokens and one-hot tokens hold no x and y, and their constructions need none.
        bases = {} if whole is not None and model.cfg.layout in ("scratch", "sequence") else own_bases(scope)
    linear = all(isinstance(attention, LinearAttention) for attention in model.attentions)
    n_context = scope.task.n_points - 1 if linear else None
    twins = [layer_operators(twin.hooked) for twin in scope.untrained]
    chance = RandomLayers(scope.seed)
    layers = tuple(
        match_layer(
            f"layer {layer + 1}",
            operator,
            reachable(bases[layer], model, layer),
            inside_share(operator, bases[layer]),
            [twin[layer] for twin in twins],
            chance,
            n_context,
            model.cfg.read_in == "affine",
        )
        for layer, operator in operators.items()
        if layer in bases
    )
    return Matching(layers, whole, n_context, scope.seed)


def own_bases(scope: Scope) -> dict[int, TokenBasis]:
    """The slots of each attention layer's tokens: the model's own, or fitted where x and y come in tokens of their own.

    In the first layer tokens are what they are read as, copied or not.

    Raises:
        MesascopeError: Its tokens hold neither.
    """
    layout = scope.hooked.cfg.layout
    fits = fit_token_bases(scope) if layout in ("interleaved", "separate") else {}
    if layout == "interleaved":
        return fits
    own = token_basis(scope.hooked)
    return {layer: fits[layer] if layer and fits else own for layer in layer_operators(scope.hooked)}


def layer_operators(model: HookedRegressor) -> dict[int, LayerOperator]:
    """Every attention layer's operator on what it reads: behind its norm, if there is one.

    Raises:
        MesascopeError: There is none.
    """
    found = {}
    for layer, block in enumerate(model.blocks):
        attention = block.attn
        if isinstance(attention, Attention):
            found[layer] = LayerOperator.of(attention, model.cfg.damping)
    if not found:
        raise MesascopeError("this model has no attention, so no weights that could hold a construction")
    return found
