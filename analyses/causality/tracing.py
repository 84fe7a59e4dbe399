"""Interchange every variable between unrelated prompts at every layer and site, and see where the prediction goes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.tools.analysis.interchange import NormMatchedPlacebo, SubspaceInterchange
from transformer_lens.tools.analysis.projection_kernel import orthonormal_subspace

from mesascope.analyses.causality.site_readouts import Key, Look, SiteReadout
from mesascope.analyses.causality.variables import Values, Variable
from mesascope.models import Prompts
from mesascope.probes import Captured, Slopes, capture, run_from

N_BLOCKS = 20
BOUND = 5.0
"""A control that moves a prediction by more, in root mean squares of y, counts as that: Newton's method diverges from
most activations that are not its own, and single pairs would be all of the slope."""
Moved = Float[Tensor, " batch"]


class Tally:
    """Sums over pairs, by block of pairs, of one variable at one layer and site."""

    def __init__(self) -> None:
        self.slopes: dict[str, Slopes] = {}
        """Of the change of the prediction on what the source's value and the base's own predict, by intervention."""
        self.errors, self.totals = (torch.zeros(N_BLOCKS, 2, dtype=torch.float64) for _ in range(2))
        """Squared, of the readout and of one of another prompt's values; and about the mean."""
        self.points: list[Float[Tensor, "batch 2"]] = []
        """(predicted, found) changes of the first pairs, to be drawn."""

    def move(self, name: str, block: int, z: Float[Tensor, "batch 2"], change: Moved) -> None:
        """Add the changes of some pairs."""
        self.slopes.setdefault(name, Slopes.zeros(N_BLOCKS, 2)).update(block, z, change)


@dataclass(frozen=True)
class Pair:
    """A batch of base prompts, each with an unrelated source; and the source's context with the base's query."""

    base: Captured
    source: Captured
    context: Captured
    mine: Values
    theirs: Values

    def read_regressors(self, key: Key, found: SiteReadout) -> Float[Tensor, "batch 2"]:
        """The same with the readings in place of the values; of S, in which predictions are not linear, the values."""
        hook, site, variable = key
        if variable == "S":
            return self.regressors(variable)
        base, source = (found.readout.predict(site.read(run.activations[hook])) for run in (self.base, self.source))
        sides = self.mine.predict_from(variable, source), -self.mine.predict_from(variable, base)
        return torch.stack(sides, dim=1)

    def regressors(self, variable: Variable) -> Float[Tensor, "batch 2"]:
        """What the learner predicts with the source's value, and minus what it predicts with the base's own.

        The prediction is to move by their sum. They stand apart, since whatever destroys the prediction moves it by
        the second alone.
        """
        return torch.stack([self.mine.predict(variable, self.theirs), -self.mine.predict(variable)], dim=1)


def trace(look: Look, readouts: dict[Key, SiteReadout], n_pairs: int, nulls: bool = True) -> dict[Key, Tally]:
    """Run every intervention on every pair.

    Args:
        look: Where and what.
        readouts: Those of this model.
        n_pairs: Pairs of prompts.
        nulls: Whether to run more than the interchange itself: ceiling, placebo, other readouts, other moves.
    """
    tallies = {key: Tally() for key in readouts}
    for index, pair in enumerate(_pairs(look, n_pairs)):
        for key, tally in tallies.items():
            _score(tally, key, readouts[key], pair, index)
            _intervene(look, tally, key, readouts[key], pair, index, nulls)
    return tallies


def _pairs(look: Look, n_pairs: int) -> Iterator[Pair]:
    streams = (capture(look.model, look.batches(n_pairs, role, N_BLOCKS), look.hooks) for role in ("base", "source"))
    for base, source in zip(*streams, strict=True):
        xs = torch.cat([source.prompts.xs[:, :-1], base.prompts.xs[:, -1:]], dim=1)
        (context,) = capture(look.model, [Prompts(xs, source.prompts.ys)], look.hooks)
        yield Pair(base, source, context, look.values(base.prompts), look.values(source.prompts))


def _score(tally: Tally, key: Key, found: SiteReadout, pair: Pair, index: int) -> None:
    hook, site, variable = key
    features, wanted = site.read(pair.base.activations[hook]), pair.mine.columns(variable)
    # The other readout is scored on what it was fitted to, another prompt's value.
    other = found.others[index % len(found.others)]
    targets = wanted, wanted.roll(1, 0)
    for place, (readout, target) in enumerate(zip((found.readout, other), targets, strict=True)):
        tally.errors[index % N_BLOCKS, place] += (readout.predict(features) - target).square().sum().cpu()
        tally.totals[index % N_BLOCKS, place] += (target - found.mean).square().sum().cpu()


def _intervene(look: Look, tally: Tally, key: Key, found: SiteReadout, pair: Pair, index: int, nulls: bool) -> None:
    hook, site, variable = key
    base, source, context = (
        site.read(run.activations[hook]).double() for run in (pair.base, pair.source, pair.context)
    )
    moved = {"alone": found.alone(base, source)} if found.separate else {}
    if nulls:
        moved |= {
            "together": found.together(base, source),
            "mismatched": found.mismatched[index % len(found.mismatched)](base, source),
            "ceiling": source if variable == "y" else context,
        }
        if found.readout.coef_.any():
            moved["least"] = SubspaceInterchange(orthonormal_subspace(found.readout.coef_).basis)(base, source)
        if "alone" in moved and (moved["alone"] != base).any():
            # A third prompt's activations, so that nothing of the source is moved, in directions in which they vary.
            natural = orthonormal_subspace((base - base.roll(1, 0))[: found.readout.coef_.shape[1]].mT).basis
            placebo = NormMatchedPlacebo(cast(SubspaceInterchange, found.alone), natural)
            moved["placebo"] = placebo(base, source.roll(1, 0))
    block, z = index % N_BLOCKS, pair.regressors(variable)
    bound = BOUND * pair.mine.y.square().mean().sqrt()
    for name, change in _changes(look, key, pair, moved).items():
        if name not in ("alone", "ceiling") or not nulls:
            change = change.nan_to_num().clamp(-bound, bound)
        of_context = name == "ceiling" and variable != "y"
        tally.move(name, block, pair.regressors("w") if of_context else z, change)
        if name == "alone":
            tally.move("as read", block, pair.read_regressors(key, found), change)
            tally.points.append(torch.stack([z.sum(1).cpu(), change.cpu()], dim=1))


@torch.no_grad()
def _changes(look: Look, key: Key, pair: Pair, moved: dict[str, Tensor]) -> dict[str, Moved]:
    """How far the prediction moves under each intervention, all of them in one run."""
    if not moved:
        return {}
    hook, site, _ = key
    n, resid = len(moved), pair.base.activations[hook]
    patched = site.write(resid.repeat(n, 1, 1), torch.cat(list(moved.values())))
    preds = run_from(look.model, patched, look.hooks.index(hook) + 1, look.point + 1)[:, -1]
    own = pair.base.preds[:, -1].double()
    return {name: part - own for name, part in zip(moved, preds.double().chunk(n), strict=True)}
