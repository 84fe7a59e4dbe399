from mesascope.analyses.similarity import choose_rivals
from mesascope.models import OnlineGradientDescent, Regression, Ridge, SparseLinearRegression
from mesascope.models.learners.base import Sweep

from ..conftest import WIDE
from .conftest import quick


def families(task: Regression, wanted: list[str | Sweep] | None = None) -> set[str]:
    return {sweep.learner.family for sweep in choose_rivals(task, wanted)}


def test_rivals_are_every_family_or_those_that_are_wanted():
    known = families(WIDE)
    assert {"GD", "Newton", "ridge", "least squares", "online GD"} <= known
    assert "lasso" not in known  # prompt by prompt, and not what solves this task
    assert "lasso" in families(SparseLinearRegression(n_dims=5, n_points=9))
    assert families(WIDE, ["newton", "GD"]) == {"Newton", "GD"}
    assert families(WIDE, ["lasso"]) == {"lasso"}
    own = Sweep(OnlineGradientDescent(0.05))
    assert choose_rivals(WIDE, [own, own]) == (own,)
    assert len(choose_rivals(WIDE, ["GD", "GD"])) == len(choose_rivals(WIDE, ["GD"]))


def test_every_family_can_be_a_rival_by_default():
    result = quick(Ridge(1.0), rivals=None)
    assert {match.family for match in result.errors.output.matches} == families(WIDE)
    assert result.errors.output.best.learner.family == "ridge"  # between the penalties of the grid
    assert result.errors.output.best.similarity.value > 0.99
