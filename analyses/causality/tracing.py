"""Interchange every variable between unrelated prompts at every layer and site, and see where the prediction goes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.tools.analysis.interchange import SubspaceInterchange
from transformer_lens.tools.analysis.projection_kernel import orthonormal_subspace

from mesascope.analyses.causality.site_readouts import Key, Look, SiteReadout
from mesascope.analyses.causality.variables import Values, Variable
from mesascope.analyses.scope import BATCH
from mesascope.models import Prompts
from mesascope.probes import Captured, Features, Slopes, capture, run_from

N_BLOCKS = 20
BOUND = 5.0
"""A prediction that moves further beyond what the learner predicts, in root mean squares of y, counts as that: Newton's
method diverges from most activations that are not its own, and single pairs would be all of the slope."""
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

    index: int
    base: Captured
    source: Captured
    context: Captured
    mine: Values
    theirs: Values

    def regressors(self, variable: Variable) -> Float[Tensor, "batch 2"]:
        """What the learner predicts with the source's value, and minus what it predicts with the base's own.

        The prediction is to move by their sum. They stand apart, since whatever destroys the prediction moves it by
        the second alone.
        """
        return torch.stack([self.mine.predict(variable, self.theirs), -self.mine.predict(variable)], dim=1)

    def read_regressors(self, key: Key, found: SiteReadout) -> Float[Tensor, "batch 2"]:
        """The same with the readings in place of the values; not of S, in which predictions are not linear."""
        hook, site, variable = key
        base, source = (found.readout.predict(site.read(run.activations[hook])) for run in (self.base, self.source))
        sides = self.mine.predict_from(variable, source), -self.mine.predict_from(variable, base)
        return torch.stack(sides, dim=1)


def trace(
    look: Look, readouts: dict[Key, SiteReadout], n_pairs: int, nulls: bool = True, n_batches: int = N_BLOCKS
) -> dict[Key, Tally]:
    """Run every intervention on every pair.

    Args:
        look: Where and what.
        readouts: Those of this model.
        n_pairs: Pairs of prompts.
        nulls: Whether to run more than the interchange itself: ceiling, placebo, other readouts, other moves.
        n_batches: Batches of pairs at the least, each a block of the intervals. Few are faster.
    """
    tallies = {key: Tally() for key in readouts}
    for pair in _pairs(look, n_pairs, n_batches):
        for hook in look.hooks:
            here = {key: found for key, found in readouts.items() if key[0] == hook}
            moves = {
                (key, name): moved for key, found in here.items() for name, moved in _moves(key, found, pair, nulls)
            }
            changes = _changes(look, hook, pair, moves)
            for key, found in here.items():
                _score(tallies[key], key, found, pair)
                for name in (name for of, name in moves if of == key):
                    _record(tallies[key], key, found, pair, name, changes[key, name])
    return tallies


def _pairs(look: Look, n_pairs: int, n_batches: int) -> Iterator[Pair]:
    streams = (capture(look.model, look.batches(n_pairs, role, n_batches), look.hooks) for role in ("base", "source"))
    for index, (base, source) in enumerate(zip(*streams, strict=True)):
        xs = torch.cat([source.prompts.xs[:, :-1], base.prompts.xs[:, -1:]], dim=1)
        (context,) = capture(look.model, [Prompts(xs, source.prompts.ys)], look.hooks)
        yield Pair(index, base, source, context, look.values(base.prompts), look.values(source.prompts))


def _score(tally: Tally, key: Key, found: SiteReadout, pair: Pair) -> None:
    hook, site, variable = key
    features, wanted = site.read(pair.base.activations[hook]), pair.mine.columns(variable)
    # The other readout is scored on what it was fitted to, another prompt's value.
    other = found.others[pair.index % len(found.others)]
    targets = wanted, wanted.roll(1, 0)
    for place, (readout, target) in enumerate(zip((found.readout, other), targets, strict=True)):
        tally.errors[pair.index % N_BLOCKS, place] += (readout.predict(features) - target).square().sum().cpu()
        tally.totals[pair.index % N_BLOCKS, place] += (target - found.mean).square().sum().cpu()


def _moves(key: Key, found: SiteReadout, pair: Pair, nulls: bool) -> Iterator[tuple[str, Features]]:
    """The activations of every intervention, by its name."""
    hook, site, variable = key
    base, source, context = (
        site.read(run.activations[hook]).double() for run in (pair.base, pair.source, pair.context)
    )
    if found.separate:
        yield "alone", found.alone(base, source)
    if not nulls:
        return
    yield "together", found.together(base, source)
    yield "mismatched", found.mismatched[pair.index % len(found.mismatched)](base, source)
    yield "ceiling", source if variable == "y" else context
    if found.readout.coef_.any():
        yield "least", SubspaceInterchange(orthonormal_subspace(found.readout.coef_).basis)(base, source)
        placebo = found.alone.placebo(base, source)
        if found.separate and (placebo != base).any():
            yield "placebo", placebo


def _record(tally: Tally, key: Key, found: SiteReadout, pair: Pair, name: str, change: Moved) -> None:
    """Add the changes of the prediction under one intervention."""
    variable, block = key[2], pair.index % N_BLOCKS
    # With the whole site the prediction's context passes, of which w is what the learner makes.
    z = pair.regressors("w" if name == "ceiling" and variable != "y" else variable)
    bound = BOUND * pair.mine.y.square().mean().sqrt() + z.sum(1).abs()
    change = change.clamp(-bound, bound)
    if name not in ("alone", "ceiling"):  # a control that destroys the run follows nothing
        change = change.nan_to_num()
    tally.move(name, block, z, change)
    if name == "alone" and variable != "S":
        tally.move("as read", block, pair.read_regressors(key, found), change)
    if name == "alone":
        tally.points.append(torch.stack([z.sum(1).cpu(), change.cpu()], dim=1))


@torch.no_grad()
def _changes(look: Look, hook: str, pair: Pair, moves: dict[tuple[Key, str], Features]) -> dict[tuple[Key, str], Moved]:
    """How far the prediction moves under each intervention at one layer, many of them in one run."""
    resid, own, names = pair.base.activations[hook], pair.base.preds[:, -1].double(), list(moves)
    at_once = max(1, BATCH // len(own))
    changes: dict[tuple[Key, str], Moved] = {}
    for some in (names[start : start + at_once] for start in range(0, len(names), at_once)):
        patched = torch.cat([key[1].write(resid, moves[key, name]) for key, name in some])
        preds = run_from(look.model, patched, look.hooks.index(hook) + 1, look.point + 1)[:, -1].double()
        changes |= {name: part - own for name, part in zip(some, preds.chunk(len(some)), strict=True)}
    return changes
