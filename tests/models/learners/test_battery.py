import pytest
import torch

from mesascope.models import GradientDescent, LeastSquares, LinearRegression, Newton, Ridge
from mesascope.models.inputs import Uniform
from mesascope.models.learners.battery import Sweep, battery, rivals
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
    assert [m.n_steps for m in summed] == [2**j for j in range(13)]  # Fu's grid
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
