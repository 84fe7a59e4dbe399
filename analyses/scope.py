"""A scope: a model, the task it is looked at with, and what was already measured."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.leaks import N_LEAK, refuse_leaks
from mesascope.models import Checkpoint, HookedRegressor, LinearRegression, MesascopeError, Prompts, load
from mesascope.models.devices import lacks_memory, usable_device
from mesascope.models.errors import in_a_line
from mesascope.models.formats import check_scale, with_scale
from mesascope.models.tasks import Regression, Task

T = TypeVar("T")
BATCH = 128
"""Most prompts in a forward pass: small enough that activations stay in a CPU's cache (1.5× faster than 1000)."""

N_TWINS, TWIN_SEED = 5, 1_000_003
"""Number of untrained twins, and the first of their seeds: not one that any run would start from."""


@runtime_checkable
class Predictor(Protocol):
    """Anything that predicts: a learner, or the user's own object."""

    def predict(self, prompts: Prompts) -> Tensor:
        """Predictions at every point of every prompt."""
        ...


class PredictorModel:
    """A predictor in the clothes of a model: it reads every point and has no layers.

    Args:
        predictor: What predicts.
        d_out: How many numbers a prediction has.
    """

    def __init__(self, predictor: Predictor, d_out: int = 1):
        self.predictor, self.d_out = predictor, d_out
        # A module's repr takes a paragraph.
        self.name = shorten(repr(predictor), 200, placeholder=" …")

    def __call__(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
    ) -> Float[Tensor, "batch n_points *d_out"]:
        """Predictions at every point, with an axis of their own if they have several numbers.

        Raises:
            MesascopeError: The predictor raises an exception of its own, lack of memory apart, or answers with
                something else than a tensor of that shape.
        """
        preds = self._asked(Prompts(xs, ys))
        if not isinstance(preds, Tensor):
            raise MesascopeError(f"{self.name} predicted a {type(preds).__name__}; return a torch tensor")
        if preds.shape != (ys.shape if self.d_out == 1 else (*ys.shape, self.d_out)):
            per_point = "one prediction" if self.d_out == 1 else f"{self.d_out} numbers"
            raise MesascopeError(
                f"{self.name} predicted a tensor of shape {tuple(preds.shape)} for prompts of shape "
                f"{tuple(ys.shape)}; return {per_point} per point"
            )
        return preds

    def _asked(self, prompts: Prompts) -> Any:
        """What the predictor answers; an analysis meets its exceptions as refusals, for they are no mistake of ours."""
        try:
            return self.predictor.predict(prompts)
        except Exception as error:
            if isinstance(error, MesascopeError) or lacks_memory(error):
                raise
            raise MesascopeError(
                f"{self.name} failed on prompts of {prompts.n_points} points in {prompts.n_dims} dimensions: "
                f"{type(error).__name__}: {in_a_line(error)}; let its predict take such prompts, or leave out what "
                "asks for them (identify: shifts=False)"
            ) from error

    def read_points(self, n_points: int) -> range:
        """Every point."""
        return range(n_points)


@dataclass(frozen=True, eq=False)
class Scope:
    """What analyses look through. It knows none of them; an analysis is a function of a scope.

    It is frozen, because what was measured is remembered: attach anew to look at another task or after training on.
    """

    model: HookedRegressor | PredictorModel
    task: Task
    source: str
    """Where the model came from, as the user named it."""
    seed: int = 0
    """Seed of every prompt and resample."""
    checkpoint: Checkpoint | None = None
    """What its folder said, if it came from one."""
    _done: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False, init=False)

    def __repr__(self) -> str:
        task = f"{self.task.name} with n_dims={self.task.n_dims} and n_points={self.task.n_points}"
        kind = f"n_layers={self.model.cfg.n_layers}" if isinstance(self.model, HookedRegressor) else "a predictor"
        return f"<Scope {self.source}: {kind}, {task}, seed {self.seed}>"

    def once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """The value of `key`, made at the first call, so that ten analyses run the model once."""
        if key not in self._done:
            self._done[key] = make()
        value: T = self._done[key]
        return value

    def reseeded(self, seed: int | None) -> "Scope":
        """This scope if `seed` is None or its own; otherwise the same model with other prompts."""
        if seed is None or seed == self.seed:
            return self
        return self.once(("reseeded", seed), lambda: replace(self, seed=seed))

    @property
    def hooked(self) -> HookedRegressor:
        """The model, if it has activations to look at.

        Raises:
            MesascopeError: It is a bare predictor.
        """
        if isinstance(self.model, HookedRegressor):
            return self.model
        raise MesascopeError(f"{self.source} has no layers to probe: it is a predictor; attach to a hooked model")

    @property
    def regression(self) -> Regression:
        """The task, if it is a regression: what learners on real numbers are compared on.

        Raises:
            MesascopeError: It is discrete.
        """
        if isinstance(self.task, Regression):
            return self.task
        raise MesascopeError(f"{self.task.name} is no regression task; readouts and learners need real-valued y")

    @property
    def linear(self) -> LinearRegression:
        """The task, if it is linear regression: what suites and shifts are varied from.

        Raises:
            MesascopeError: It is another.
        """
        if isinstance(self.task, LinearRegression):
            return self.task
        raise MesascopeError(f"{self.task.name} is not linear regression; attach with a linear_regression task")

    @property
    def counted_points(self) -> tuple[int, ...]:
        """The points that the model reads and the task scores.

        Raises:
            MesascopeError: There are none.
        """
        n_points = self.task.n_points
        points = tuple(self.task.counted(self.model.read_points(n_points), n_points))
        if not points:
            raise MesascopeError(f"{self.source} reads no point that the task scores; attach with another task")
        return points

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return next(self.model.parameters()).device if isinstance(self.model, HookedRegressor) else torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """What prompts are cast to: the model's dtype, float64 for predictors."""
        return next(self.model.parameters()).dtype if isinstance(self.model, HookedRegressor) else torch.float64

    @property
    def untrained(self) -> tuple["Scope", ...]:
        """The model's untrained twins (weights from seeds of their own), the null of every finding; none if bare.

        Several, because one draw of random weights says nothing of how far another might come.
        """
        if not isinstance(self.model, HookedRegressor):
            return ()
        return self.once(("untrained",), lambda: tuple(map(self.untrained_twin, range(N_TWINS))))

    def untrained_twin(self, index: int) -> "Scope":
        """The twin of that number, of any number of them.

        Raises:
            MesascopeError: The scope holds a bare predictor.
        """
        twin = self.hooked.untrained_twin(TWIN_SEED + self.seed + index)
        return Scope(twin, self.task, f"untrained twin of {self.source}", self.seed)

    def prompts(self, n_prompts: int, stream: str, start: int = 0) -> Prompts:
        """Prompts of a stream, on the model's device; streams never share a prompt."""
        return self.task.sample(
            n_prompts, seed=self.seed, stream=stream, start=start, device=self.device, dtype=self.dtype
        )

    def batches(self, n_prompts: int, stream: str, at_least: int = 1, taken: slice = slice(None)) -> Iterator[Prompts]:
        """The first `n_prompts` of a stream, in `at_least` or more batches whose sizes differ by one at most.

        Only those `taken` are drawn, such as every other one by one of two processes.
        """
        n_batches = min(max(at_least, math.ceil(n_prompts / BATCH)), n_prompts)
        edges = list(pairwise(index * n_prompts // n_batches for index in range(n_batches + 1)))
        return (self.prompts(stop - start, stream, start) for start, stop in edges[taken])

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_read *d_out"]:
        """The model's predictions at its read points, float64.

        A bare predictor is tried once for whether it sees the answer: every analysis takes its predictions from here.

        Raises:
            MesascopeError: A prediction is NaN or infinite, or a bare predictor's sees the answer.
        """
        preds = self._predict(prompts)
        if isinstance(self.model, PredictorModel):
            self.refuse_leaks()
        return preds

    @torch.no_grad()
    def _predict(self, prompts: Prompts) -> Float[Tensor, "batch n_read *d_out"]:
        preds = torch.cat([self.model(batch.xs, batch.ys).double() for batch in prompts.split(BATCH)])
        self.refuse_non_finite(preds)
        return preds

    def refuse_leaks(self) -> None:
        """Refuse a model that sees the answer; what does not is tried once.

        Raises:
            MesascopeError: A prediction depends on its own y or on later ones.
        """

        def tried() -> None:
            few, read = self.prompts(N_LEAK, "tune"), self.model.read_points(self.task.n_points)
            # −y is of y's size; the number of a token is replaced by that of another prompt.
            other = -few.ys if isinstance(self.task, Regression) else few.ys.roll(1, 0)
            if read:
                refuse_leaks(self._predict, few, other, read, self.source)

        self.once(("leaks",), tried)

    def refuse_non_finite(self, preds: Float[Tensor, "batch n_read *d_out"]) -> None:
        """Refuse predictions of which one is NaN or infinite.

        Raises:
            MesascopeError: One is.
        """
        if not preds.isfinite().all():
            bad = int((~preds.isfinite()).flatten(1).any(1).sum())
            raise MesascopeError(
                f"{self.source} predicts NaN or infinity on {bad} of {len(preds)} prompts; take a checkpoint from "
                "before it diverged, or a task it was trained on"
            )

    def at_read_points(self, values: Float[Tensor, "*lead n_points"]) -> Float[Tensor, "*lead n_read"]:
        """Restrict values at every point to those the model predicts."""
        return values[..., list(self.model.read_points(values.shape[-1]))]


def attach(
    target: str | Path | HookedRegressor | Predictor,
    *,
    task: Task | None = None,
    seed: int = 0,
    device: str | None = None,
    w_std: float | None = None,
) -> Scope:
    """Attach to a checkpoint, a hooked model, or anything with `predict(prompts)`.

    Args:
        target: A run folder (mesascope's or Garg et al.'s), `"zoo:NAME"`, either with `@untrained[-SEED]`, a
            `HookedRegressor`, or a predictor such as a learner.
        task: The task to look at it with; default the one it was trained on, as far as that is known.
        seed: Seed of every prompt and resample.
        device: Where to run the model; default where it is. A model that is handed over is moved, not copied; a
            predictor sees to this itself.
        w_std: Scale of w in that task, such as for folders that do not record it.

    Raises:
        MesascopeError: There is no such checkpoint, it cannot be read, the device is not there or not for us to
            choose, the task has other dimensions than the model, or w_std is no scale or means nothing to the task.
    """
    check_scale(w_std)
    checkpoint = None
    model: HookedRegressor | PredictorModel
    if isinstance(target, str | Path):
        checkpoint = load(target, w_std)
        model, task, source = checkpoint.model, task or checkpoint.task, str(target)
    elif isinstance(target, HookedRegressor):
        model, source = target, "a hooked model"
    elif isinstance(target, Predictor) and not isinstance(target, type):
        task = task or LinearRegression()
        model = PredictorModel(target, task.d_out)
        source = model.name
        if device not in (None, "cpu"):
            raise MesascopeError(
                f"device={device!r} means nothing to {source}: a predictor gets prompts on the CPU, and moves them in "
                "its predict to where it runs; leave device out"
            )
    else:
        raise MesascopeError(
            f"cannot attach to {type(target).__name__}; expected a path, 'zoo:NAME', a HookedRegressor, or an object "
            "with predict(prompts)"
        )
    if isinstance(model, HookedRegressor):
        task = task or LinearRegression(n_dims=model.cfg.n_dims, n_points=model.cfg.n_points)
        if task.n_dims != model.cfg.n_dims:
            raise MesascopeError(f"task has n_dims={task.n_dims} but the model has n_dims={model.cfg.n_dims}")
        if task.d_out != model.cfg.d_out:
            raise MesascopeError(
                f"the task {task.name} has d_out={task.d_out} but the model has d_out={model.cfg.d_out}; "
                "attach with the task it was made for"
            )
        if device is not None:
            model.to(usable_device(device))
    assert task is not None  # a folder, a model and a predictor each brought one
    task = with_scale(task, w_std)
    return Scope(model, task, source, seed, checkpoint)
