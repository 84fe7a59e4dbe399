import pytest
import torch

from mesascope.models import GradientDescent, LeastSquares, LinearRegression, Newton, Ridge
from mesascope.models.battery import STEPS, Sweep, battery, refine, rivals
from mesascope.models.inputs import Uniform
from tests.models.learners.prompts import prompts_of

TASK = LinearRegression(n_dims=3, n_points=6, noise_std=0.1)


def test_every_member_of_the_battery_predicts_what_it_predicts_alone():
    prompts = prompts_of(3, 6, n_prompts=2)
    members, preds = battery(prompts, rivals(TASK))
    assert preds.shape == (len(members), 2, 6)
    for member, together in zip(members, preds, strict=True):
        torch.testing.assert_close(together, member.predict(prompts), equal_nan=True, msg=member.label)


def test_the_rivals_are_those_of_the_methods_and_no_two_are_alike():
    members = [member for sweep in rivals(TASK) for member in sweep.members()]
    assert len(set(members)) == len(members)
    newton = [m.n_steps for m in members if isinstance(m, Newton)]
    summed = [m for m in members if isinstance(m, GradientDescent) and m.loss == "sum" and m.eta == 0.01]
    assert newton == list(range(1, 24))
    assert [m.n_steps for m in summed] == list(STEPS)
    assert {2**j for j in range(13)} <= set(STEPS)  # Fu's grid
    assert {m.loss for m in members if isinstance(m, GradientDescent)} == {"mean", "sum"}
    assert sum(isinstance(m, Ridge) for m in members) == 16
    assert sum(isinstance(m, LeastSquares) for m in members) == 1


@pytest.mark.parametrize("half_width", [0.1, 5.0])
def test_the_grids_scale_with_the_inputs_so_that_predictions_do_not_depend_on_units(half_width):
    def predicted(task):
        prompts = task.sample(3, seed=0, dtype=torch.float64)
        return battery(prompts, rivals(task))[1] / prompts.ys.abs().mean()

    one, other = (LinearRegression(n_dims=3, n_points=6, inputs=Uniform(half_width=h)) for h in (1.0, half_width))
    torch.testing.assert_close(predicted(other), predicted(one), rtol=1e-6, atol=1e-6, equal_nan=True)


def test_a_sweep_from_zero_steps_names_its_members_rightly():
    assert [member.n_steps for member in Sweep(Newton(3), (0, 1, 3)).members()] == [0, 1, 3]


@pytest.mark.parametrize(
    "truth", [GradientDescent(5, 0.13), GradientDescent(5, 0.071), Ridge(0.65), Ridge(0.26)], ids=repr
)
def test_refining_moves_a_scalar_of_the_grid_to_the_true_one(truth):
    prompts = prompts_of()
    target = truth.predict(prompts)

    def score(learner):
        return -(learner.predict(prompts) - target).square().mean().item()

    found = refine(GradientDescent(5, 0.1) if isinstance(truth, GradientDescent) else Ridge(0.4), score)
    assert getattr(found, truth.scalar) == pytest.approx(getattr(truth, truth.scalar), rel=0.01)  # 16 steps of Brent
    assert (found.n_steps, type(found)) == (truth.n_steps, type(truth))


def test_refining_never_makes_a_learner_worse_and_leaves_one_without_a_scalar():
    best = GradientDescent(5, 0.1)
    assert refine(best, lambda learner: float(learner == best)) == best
    assert refine(Newton(4), lambda learner: 0.0) == Newton(4)
    assert refine(LeastSquares(), lambda learner: 0.0) == LeastSquares()
