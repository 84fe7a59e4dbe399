"""No analysis believes a model that sees its answer."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from mesascope.analyses import attach, compare, identify, measure_performance, measure_response, measure_similarity
from mesascope.analyses.leaks import N_LEAK
from mesascope.models import (
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    PrefixMatching,
    Prompts,
    RepeatedSequence,
)
from mesascope.models.tasks import LinearClassification

TASK = LinearRegression(n_dims=3, n_points=8)
TOKENS = RepeatedSequence(n_dims=6, n_points=12, period=5)


@dataclass
class Sees:
    """Least squares, and a share of y at some steps further."""

    share: float = 1.0
    ahead: int = 0
    n_calls: int = 0

    def predict(self, prompts: Prompts) -> torch.Tensor:
        self.n_calls += 1
        found = LeastSquares().predict(prompts).clone()
        n_seen = prompts.n_points - self.ahead
        found[:, :n_seen] += self.share * prompts.ys[:, self.ahead :]
        return found

    def __repr__(self) -> str:
        return "one that sees"


@pytest.mark.parametrize(
    "analyse",
    [
        measure_performance,
        measure_response,
        lambda scope: measure_similarity(scope, n_prompts=100),
        lambda scope: identify(scope, n_prompts=40, n_tune=40),
        lambda scope: scope.predict(scope.prompts(3, "any")),
    ],
    ids=["performance", "response", "similarity", "identification", "predictions"],
)
def test_no_analysis_takes_a_model_that_sees_its_answer(analyse):
    scope = attach(Sees(), task=TASK)
    for _ in range(2):  # a refusal is not forgotten
        with pytest.raises(MesascopeError, match="one that sees predicts y at point 4 or before from the y of point 4"):
            analyse(scope)


def test_a_comparison_says_which_model_sees_its_answer():
    found = compare([LeastSquares(), Sees()], ["performance"], n_paired=40, task=TASK)
    assert "predicts y at point 4" in found.failed["predictions of one that sees"]


@pytest.mark.parametrize("share, ahead", [(0.01, 0), (1.0, 1), (-1.0, 0)])
def test_a_little_of_y_is_seen_and_so_is_a_later_one(share, ahead):
    scope = attach(Sees(share, ahead), task=TASK)
    with pytest.raises(MesascopeError, match="may see the points before it, and its own x"):
        scope.predict(scope.prompts(3, "any"))


@pytest.mark.parametrize("seen", [-1, 4])
def test_an_answer_that_is_seen_at_one_of_the_points_that_are_tried_is_enough(seen):
    class Once:
        def predict(self, prompts: Prompts) -> torch.Tensor:
            preds = torch.zeros_like(prompts.ys)
            preds[:, seen] = prompts.ys[:, seen]
            return preds

    scope = attach(Once(), task=TASK)
    with pytest.raises(MesascopeError, match="predicts y at point"):
        scope.predict(scope.prompts(3, "any"))


class Honest:
    """Earlier y, its own x and noise."""

    def __init__(self, noise: float = 0.0):
        self.noise, self.sizes = noise, list[int]()

    def predict(self, prompts: Prompts) -> torch.Tensor:
        self.sizes.append(len(prompts))
        return LeastSquares().predict(prompts) + self.noise * torch.randn_like(prompts.ys)


@pytest.mark.parametrize("task", [TASK, LinearClassification(n_dims=3, n_points=8), LinearRegression(n_points=1)])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_sees_earlier_points_alone_passes_even_if_it_is_noisy(noise, task):
    torch.manual_seed(0)
    scope = attach(Honest(noise), task=task)
    assert scope.predict(scope.prompts(3, "any")).isfinite().all()


def test_it_is_tried_once_and_costs_four_small_passes():
    honest = Honest()
    scope = attach(honest, task=TASK)
    for _ in range(3):
        scope.predict(scope.prompts(5, "any"))
    assert honest.sizes == [5, *4 * [N_LEAK], 5, 5]


def test_a_hooked_model_is_not_tried_at_every_prediction(predicts_y: HookedRegressor, monkeypatch):
    scope, sizes = attach(predicts_y), list[int]()
    hook = predicts_y.register_forward_hook(lambda module, given, found: sizes.append(len(found)))
    scope.predict(scope.prompts(5, "any"))
    hook.remove()
    assert sizes == [5]
    scope.refuse_leaks()


class NextToken:
    """Logits of the token that comes."""

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return torch.nn.functional.one_hot(prompts.ys.long(), 6).double()


def test_tokens_that_are_seen_are_refused_and_those_that_are_matched_are_not():
    tokens: dict[str, Any] = {"task": TOKENS}
    scope, honest = attach(NextToken(), **tokens), attach(PrefixMatching(), **tokens)
    assert honest.predict(honest.prompts(3, "any")).shape == (3, 12, 6)
    with pytest.raises(MesascopeError, match="predicts y at point 6 or before"):
        scope.predict(scope.prompts(3, "any"))
