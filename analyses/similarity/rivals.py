"""The learners that a model is held against."""

from collections.abc import Sequence

from mesascope.models import MesascopeError
from mesascope.models.battery import rivals
from mesascope.models.errors import nearest
from mesascope.models.learners.base import Sweep
from mesascope.models.tasks import Regression


def choose_rivals(task: Regression, wanted: Sequence[str | Sweep] | None = None) -> tuple[Sweep, ...]:
    """The sweeps to hold a model against.

    Args:
        task: What it is looked at with.
        wanted: Families by name, or sweeps; default every family that predicts all prompts at once, and those that
            the task is best solved by.

    Raises:
        MesascopeError: A family is unknown, or none is wanted.
    """
    known = rivals(task)
    if wanted is None:
        solving = {learner.family for learner in task.references()}
        return tuple(sweep for sweep in known if sweep.learner.batched or sweep.learner.family in solving)
    families = {sweep.learner.family.casefold(): sweep.learner.family for sweep in known}
    chosen: list[Sweep] = []
    for name in wanted:
        if isinstance(name, Sweep):
            chosen.append(name)
        elif (family := families.get(name.casefold())) is not None:
            chosen += [sweep for sweep in known if sweep.learner.family == family]
        else:
            raise MesascopeError(f"no rival is called {name!r}{nearest(name, families.values())}")
    if not chosen:
        raise MesascopeError("rivals=(): expected a family or a sweep, or None for every family")
    return tuple(dict.fromkeys(chosen))
