"""Where a model, its untrained twins and learners are held against each other, batch by batch."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.layers import OUTPUT, layer_label, predict_layers_on
from mesascope.analyses.scope import BATCH, Scope
from mesascope.models import HookedRegressor, MesascopeError, Prompts
from mesascope.probes.induced import Predict
from mesascope.probes.similarity import Measure, Roster, SimilaritySums

N_BLOCKS = 20


class Bench:
    """A model and its untrained twins, ready to be compared with learners by one measure.

    Args:
        scope: The model.
        measure: By errors or by weights.
        n_fit: Prompts to fit the layers' readouts on.
    """

    def __init__(self, scope: Scope, measure: Measure, n_fit: int):
        self.scope, self.measure, self.n_fit = scope, measure, n_fit

    def own(self, prompts: Prompts) -> Float[Tensor, "n_layers batch *rest"]:
        """What every layer gives."""
        return self.measure.read(_predictor(self.scope, self.n_fit), prompts)

    def twins(self, prompts: Prompts) -> Float[Tensor, "n_twins_and_layers batch *rest"]:
        """What every layer of each untrained twin gives, twin after twin."""
        # There are several, so each is read with an affine map from fewer prompts; still hundreds for every feature.
        n_fit = max(2 * N_BLOCKS, self.n_fit // 20)
        return torch.cat([self.measure.read(_predictor(twin, n_fit), prompts) for twin in self.scope.untrained])

    def given(self, roster: Roster, prompts: Prompts) -> Float[Tensor, "n_members batch *rest"]:
        """What every member of a roster gives."""
        return torch.cat([self.measure.predict(sweep, prompts) for sweep in roster.sweeps])

    @property
    def labels(self) -> tuple[str, ...]:
        """The layers' names."""
        model = self.scope.model
        hooks = model.residual_hooks if isinstance(model, HookedRegressor) else []
        return tuple(map(layer_label, (*hooks, OUTPUT)))

    def enough(self, n_prompts: int) -> int:
        """As many prompts, rounded down to whole pairs of units.

        Raises:
            MesascopeError: There are fewer than two units a block.
        """
        rounded, least = n_prompts - n_prompts % (2 * self.measure.unit), 2 * N_BLOCKS * self.measure.unit
        if rounded < least:
            raise MesascopeError(f"n_prompts={n_prompts}: expected at least {least} to compare on")
        return rounded

    def at_least(self, n_prompts: int) -> int:
        """As many prompts, or as many as are needed."""
        return self.enough(max(n_prompts, 2 * N_BLOCKS * self.measure.unit))

    def batches(self, n_prompts: int, stream: str) -> Iterator[Prompts]:
        """Prompts of a stream, in whole pairs of units."""
        pair = 2 * self.measure.unit
        size = max(BATCH - BATCH % pair, pair)
        for start in range(0, n_prompts, size):
            yield self.scope.prompts(min(size, n_prompts - start), stream, start)

    def tally(
        self, n_prompts: int, stream: str, subjects: Callable[[Prompts], Tensor], roster: Roster
    ) -> SimilaritySums:
        """Similarities of subjects (what they give on prompts) to the members of a roster."""
        measure, sums, done = self.measure, SimilaritySums(N_BLOCKS), 0
        for prompts in self.batches(n_prompts, stream):
            units = torch.arange(done, done + len(prompts) // measure.unit)
            rivals = (measure.directions(measure.predict(sweep, prompts), prompts) for sweep in roster.sweeps)
            blocks = units * N_BLOCKS // (n_prompts // measure.unit)
            sums.update(blocks, measure.directions(subjects(prompts), prompts), rivals)
            done += len(units)
        return sums


def _predictor(scope: Scope, n_fit: int) -> Predict:
    """What each stage of the residual stream predicts, then the output; of a bare predictor the output alone."""
    return lambda prompts: predict_layers_on(scope, prompts, n_fit).preds
