import pytest
import torch

from mesascope.analyses.side_checks.agreement import CONSTRUCTION, MODEL, at_the_query
from mesascope.analyses.side_checks.shifted import (
    LABELS,
    scaled,
    shifted_prompts,
    under_shifts,
    with_replaced_labels,
)
from mesascope.models import LinearRegression, gradient_descent
from mesascope.models.inputs import Uniform

from .specimens import D, step

NOISY = LinearRegression(n_dims=3, n_points=8, inputs=Uniform(half_width=0.5), noise_std=0.3)
VON_OSWALD = LinearRegression(n_dims=10, n_points=11, inputs=Uniform(half_width=0.5))


def test_scaled_prompts_are_those_of_the_scaled_task():
    prompts = NOISY.sample(20, seed=0, dtype=D)
    longer = NOISY.model_copy(update={"inputs": Uniform(half_width=1.0)}).sample(20, seed=0, dtype=D)
    larger = NOISY.model_copy(update={"w_std": 2.0}).sample(20, seed=0, dtype=D)
    for found, expected in ((scaled(prompts, x=2.0), longer), (scaled(prompts, w=2.0), larger)):
        torch.testing.assert_close(found.xs, expected.xs)
        torch.testing.assert_close(found.ys, expected.ys)
        torch.testing.assert_close(found.w, expected.w)


def test_as_many_labels_as_asked_for_are_replaced_and_never_the_query():
    prompts = NOISY.sample(2000, seed=0, dtype=D)
    found = with_replaced_labels(prompts, 3, 1.5, seed=0)
    changed = found.ys != prompts.ys
    assert (changed.sum(1) == 3).all()
    assert not changed[:, -1].any()
    assert changed[:, :-1].double().mean(0).min() > 0.3  # at random places
    new = found.ys[changed]
    assert new.std().item() == pytest.approx(1.5, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([new, prompts.ys[changed]]))[0, 1]) < 0.05
    torch.testing.assert_close(with_replaced_labels(prompts, 0, 1.5, seed=0).ys, prompts.ys)


@pytest.mark.parametrize(("n_replaced", "published"), [(0, 0.2062), (2, 0.258), (4, 0.316)])
def test_replaced_labels_cost_a_step_what_was_published(n_replaced, published):
    """d=n=10, ½MSE; expected: d − 2ηdv(n−k)/n + η²/n² ((n−k) d(m + (d−1)v²) + (n−k)(n−k−1) d v² + k d v), times v/2."""
    d = n = 10
    eta, v, m, kept = 6.06, 1 / 12, 0.5**4 / 5, 10 - n_replaced
    curved = kept * d * (m + (d - 1) * v**2) + kept * (kept - 1) * d * v**2 + n_replaced * d * v
    expected = (d - 2 * eta * d * v * kept / n + eta**2 / n**2 * curved) * v / 2
    assert expected == pytest.approx(published, rel=0.006)  # published ones are sampled
    prompts = with_replaced_labels(VON_OSWALD.sample(40_000, seed=0, dtype=D), n_replaced, 1.0, seed=0)
    preds = at_the_query(gradient_descent(d, n + 1, eta, dtype=D))(prompts)
    assert (preds - prompts.ys[:, -1]).square().mean().item() / 2 == pytest.approx(expected, rel=0.03)


def test_every_shift_has_losses_and_differences_of_every_predictor():
    task = LinearRegression(n_dims=4, n_points=13)
    prompts = task.sample(200, seed=0, dtype=D)
    predictors = {MODEL: at_the_query(step(0.7)), CONSTRUCTION: at_the_query(step(0.6))}
    found = under_shifts(predictors, prompts, task.w_std, seed=0)
    assert [shift.label for shift in found if shift.kind == LABELS] == [f"{k} labels replaced" for k in (0, 1, 2, 5)]
    assert sum(shift.in_distribution for shift in found) == 3
    plain = next(shift for shift in found if shift.in_distribution)
    for shift in found:
        assert shift.differences[CONSTRUCTION].value == 0
        if shift.in_distribution:
            assert shift.losses == plain.losses
        if shift.kind == "w scaled":  # a step is linear in y
            assert shift.losses[MODEL].value == pytest.approx(plain.losses[MODEL].value)
    doubled = next(shift for shift in found if shift.label == "x scaled by 2")
    error = doubled.losses[CONSTRUCTION].value ** 0.5
    assert doubled.shares[MODEL].value == pytest.approx(doubled.differences[MODEL].value / error)
    assert doubled.losses[MODEL].value > doubled.losses[CONSTRUCTION].value > 1
    assert doubled.data()["losses"][MODEL]["value"] == doubled.losses[MODEL].value


def test_shifts_are_of_the_same_prompts():
    prompts = NOISY.sample(10, seed=0, dtype=D)
    for _, _, moved in shifted_prompts(prompts, 1.0, seed=0):
        directions = torch.nn.functional.normalize(moved.xs, dim=-1)
        torch.testing.assert_close(directions, torch.nn.functional.normalize(prompts.xs, dim=-1))
