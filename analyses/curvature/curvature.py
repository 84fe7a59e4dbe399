"""Do layers correct the curvature of their data, x ← x − γ S x, as GD++ does?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mesascope.analyses.claim import Claim, Figure, Result, fixed
from mesascope.analyses.curvature.activations import N_BLOCKS, XUpdate, measure_updates
from mesascope.analyses.curvature.claims import WHY, layer_claim
from mesascope.analyses.curvature.intervention import Ablation, ablate
from mesascope.analyses.curvature.layer import (
    ABSENT,
    NEGLIGIBLE,
    NOT_APPLICABLE,
    PRESENT,
    UNREAD,
    LayerCurvature,
)
from mesascope.analyses.curvature.members import find_members
from mesascope.analyses.curvature.spectra import sample_spectra
from mesascope.analyses.fitting import n_twin_prompts
from mesascope.analyses.matching import match_weights
from mesascope.analyses.matching.layer_match import LayerMatch
from mesascope.analyses.matching.matching import layer_operators, own_bases
from mesascope.analyses.scope import Scope
from mesascope.models import MesascopeError
from mesascope.probes import Estimate

APART = ("interleaved", "separate")
"""Layouts with x and y of a point in tokens of their own."""


@dataclass(frozen=True)
class Curvature(Result):
    """Every layer's change of x by its weights, by its activations, and by what happens without it."""

    name: ClassVar[str] = "curvature"
    title: ClassVar[str] = "Curvature correction"
    question: ClassVar[str] = "Does each layer transform its data as GD++ does, x ← x − γSx?"
    evidence = "weights"

    layers: tuple[LayerCurvature, ...]
    """Those with attention."""
    n_prompts: int
    n_scored: int
    seed: int

    @property
    def read(self) -> tuple[LayerCurvature, ...]:
        """The layers that get a verdict of their own."""
        return tuple(layer for layer in self.layers if layer.set_aside is None)

    @property
    def verdict(self) -> str:
        """In which layers there is curvature correction, and what there is in the others."""
        if not self.read:
            return NOT_APPLICABLE if self.layers[0].set_aside == NOT_APPLICABLE else ABSENT
        numbers: dict[str, list[int]] = {}
        for layer in self.read:
            numbers.setdefault(layer.verdict, []).append(layer.number)
        if list(numbers) == [ABSENT]:
            return ABSENT
        return ", ".join(f"{_PHRASES.get(verdict, verdict)} in {_layers(found)}" for verdict, found in numbers.items())

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All layers together, then each layer, the first first."""
        return (self._model(), *map(layer_claim, self.layers))

    def _model(self) -> Claim:
        updates = [(layer.update, layer) for layer in self.read if layer.update is not None and not layer.negligible]
        if not updates:
            why = "no layer changes it" if self.read else WHY[self.layers[-1].verdict]
            return Claim("curvature.model", f"The tokens' x: {self.verdict}; {why}.", None, None, None, self.verdict)
        update, layer = min(updates, key=lambda pair: pair[0].r2.value)
        text = (
            f"The tokens' x: {self.verdict}; −γSx explains at least R² = {fixed(update.r2.value, 4)} of what each "
            f"layer does to x (there, with another prompt's S {fixed(update.shuffled.value)}, of untrained twins at "
            f"most {fixed(max(layer.untrained_r2, default=0.0))})."
        )
        return Claim("curvature.model", text, update.r2.value, update.r2.ci, layer.null, self.verdict)

    def figures(self) -> tuple[Figure, ...]:
        """γ by every reading, R² with its nulls, the spectra, and the loss without each layer's x-update."""
        from mesascope.analyses.curvature.figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every reading of every layer."""
        return {
            "seed": self.seed,
            "n_prompts": self.n_prompts,
            "n_scored": self.n_scored,
            "verdict": self.verdict,
            "layers": [layer.data() for layer in self.layers],
        }


_PHRASES = {PRESENT: "curvature correction"}


def _layers(numbers: Sequence[int]) -> str:
    """In words: layer 1, layers 1 and 3, layers 1-3."""
    if len(numbers) == 1:
        return f"layer {numbers[0]}"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"layers {numbers[0]}-{numbers[-1]}"
    return f"layers {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def detect_curvature(scope: Scope, seed: int | None = None, n_prompts: int = 2_000, n_scored: int = 4_000) -> Curvature:
    """Look for the curvature correction of GD++ in every layer, x ← x − γ S x with S = Σ x xᵀ/n over the context.

    Three readings, whose agreement is the verdict: γ of the member of GD++ that is nearest to the weights; the
    regression of what the layer does to x on −S x; and the loss without that, beside what GD++ with γ = 0 predicts.

    Args:
        scope: A hooked model on joint tokens; on others no layer gets a verdict.
        seed: Seed of the prompts; default the scope's.
        n_prompts: Prompts whose activations are read.
        n_scored: Prompts whose loss is measured, others than those.

    Raises:
        MesascopeError: The model is a bare predictor, has no attention or no tokens that hold x and y, there are fewer
            than 40 prompts, or x grows beyond all numbers.

    Source: von Oswald et al. (2023), section 3 and appendix A.10, for GD++; the tests of it are ours.
    """
    if min(n_prompts, n_scored) < 2 * N_BLOCKS:
        raise MesascopeError(
            f"n_prompts={n_prompts}, n_scored={n_scored}: the intervals need at least {2 * N_BLOCKS} prompts of each"
        )
    scope = scope.reseeded(seed)
    return scope.once(("curvature", n_prompts, n_scored), lambda: _detect(scope, n_prompts, n_scored))


def _detect(scope: Scope, n_prompts: int, n_scored: int) -> Curvature:
    cfg = scope.hooked.cfg
    if cfg.block != "transformer" or cfg.layout not in ("joint", *APART):
        raise MesascopeError(
            f"the tokens of this model (layout={cfg.layout!r}, block={cfg.block!r}) hold no x beside its y; curvature "
            "correction is read in a basis of slots (x, y), which layout='joint' has: attach to a transformer on it, "
            "such as zoo:lsa-2"
        )
    if cfg.layout in APART:
        layers = tuple(LayerCurvature(layer + 1, NOT_APPLICABLE) for layer in layer_operators(scope.hooked))
    else:
        layers = _read(scope, n_prompts, n_scored)
    return Curvature(layers, n_prompts, n_scored, scope.seed)


def _read(scope: Scope, n_prompts: int, n_scored: int) -> tuple[LayerCurvature, ...]:
    """All readings of every layer with attention."""
    bases = own_bases(scope)
    *read, last = bases
    if not read:
        return (LayerCurvature(last + 1, UNREAD),)
    matching = match_weights(scope)
    matches = dict(zip(bases, matching.layers, strict=True))
    updates = measure_updates(scope, bases, n_prompts)
    _refuse_non_finite(scope, updates)
    twins = [measure_updates(twin, own_bases(twin), n_twin_prompts(n_prompts)) for twin in scope.untrained]
    spectra = sample_spectra(scope, {layer: bases[layer] for layer in read})
    changing = [layer for layer in read if updates[layer].size.high > NEGLIGIBLE]
    ablations: dict[int, Ablation] = {}
    if changing and matching.n_context is not None:
        ablations = ablate(scope, find_members(scope.hooked, bases, matches), changing, n_scored)
    found = []
    for layer, update in updates.items():
        of_twins = [twin[layer] for twin in twins if twin[layer].finite]
        found.append(
            LayerCurvature(
                number=layer + 1,
                set_aside=None if layer in read else UNREAD,
                weights=_gamma(matches[layer]),
                update=update,
                untrained_gamma=tuple(twin.gamma.value for twin in of_twins),
                untrained_r2=tuple(twin.r2.value for twin in of_twins),
                spectra=spectra.get(layer),
                ablation=ablations.get(layer),
            )
        )
    return tuple(found)


def _gamma(match: LayerMatch) -> Estimate | None:
    """γ by the weights, zero if they are; None where they hold none that is read."""
    if not match.matches:
        return Estimate(0.0, 0.0, 0.0)
    return next((nearest.scalars.get("γ") for nearest in match.matches if nearest.family == "GD++"), None)


def _refuse_non_finite(scope: Scope, updates: dict[int, XUpdate]) -> None:
    for layer, update in updates.items():
        if not update.finite:
            raise MesascopeError(
                f"{scope.source}: the x of its tokens is NaN or infinite at layer {layer + 1}; attach with a task on "
                "which it converges"
            )
