import pytest
import torch

from mesascope.models import LeastSquares, LinearRegression, MesascopeError
from mesascope.models.inputs import Gaussian, OneHot, Uniform
from mesascope.models.suites import prompting_suites

TASK = LinearRegression(n_dims=6, n_points=15, w_std=0.8)
NAMES = (
    ["standard", "random_quadrants", "opposite_quadrants", "orthogonal_query", "overlapping_query"]
    + ["half_subspace", "skewed"]
    + [f"{axis}_scale_{factor}" for axis in "xy" for factor in ("0.333", "0.5", "2", "3")]
    + ["noisy"]
)


def test_the_suites_are_gargs():
    suites = prompting_suites(TASK)
    assert list(suites) == NAMES
    assert suites["standard"] == TASK
    assert len(set(suites.values())) == len(suites)


@pytest.mark.parametrize("inputs", [Gaussian(), Gaussian(scale=2.0), Uniform(half_width=0.5)], ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_every_suite_is_a_task_with_the_null_loss_that_it_says(name, inputs):
    task = TASK.model_copy(update={"inputs": inputs})
    suite = prompting_suites(task)[name]
    assert LinearRegression.model_validate_json(suite.model_dump_json()) == suite  # model_copy skips the validators
    query = suite.sample(3000, seed=0, dtype=torch.float64).ys[:, -1].square()
    assert abs(query.mean() - suite.null_loss) < 4.5 * query.std() / 3000**0.5  # 45 cases: 4 is too few


def loss_at_the_query(suite):
    prompts = suite.sample(200, seed=0, dtype=torch.float64)
    return (LeastSquares().predict(prompts)[:, -1] - prompts.ys[:, -1]).square().mean().item() / suite.null_loss


def test_least_squares_is_at_home_wherever_the_context_spans_the_query_and_lost_where_it_is_orthogonal():
    losses = {name: loss_at_the_query(suite) for name, suite in prompting_suites(TASK).items()}
    lost = {name for name, loss in losses.items() if loss > 1e-9}
    assert lost == {"orthogonal_query", "noisy"}
    assert losses["orthogonal_query"] == pytest.approx(1, abs=0.3)  # it predicts zero: 4 standard errors


def test_scales_change_nothing_but_the_scale():
    suites = prompting_suites(TASK)
    plain = TASK.sample(3, seed=0, dtype=torch.float64)
    for factor in ("0.333", "0.5", "2", "3"):
        number = 1 / 3 if factor == "0.333" else float(factor)
        xs = suites[f"x_scale_{factor}"].sample(3, seed=0, dtype=torch.float64)
        ys = suites[f"y_scale_{factor}"].sample(3, seed=0, dtype=torch.float64)
        torch.testing.assert_close(xs.xs, number * plain.xs)
        assert torch.equal(ys.xs, plain.xs)
        torch.testing.assert_close(xs.ys, number * plain.ys)
        torch.testing.assert_close(ys.ys, number * plain.ys)


def test_noisy_keeps_the_variance_of_y_and_has_noise_as_strong_as_one_coordinate():
    noisy = prompting_suites(TASK)["noisy"]
    assert noisy.null_loss == pytest.approx(TASK.null_loss)
    assert noisy.noise_std**2 / noisy.null_loss == pytest.approx(1 / 7)


def test_half_subspace_and_skewed_have_their_spectra():
    suites = prompting_suites(TASK)
    for name, expected in (("half_subspace", 0.0), ("skewed", 1 / 36)):
        eigenvalues = torch.linalg.eigvalsh(
            suites[name].model_copy(update={"n_points": 20_000}).sample(1, seed=0, dtype=torch.float64).xs[0].T.cov()
        )
        assert eigenvalues[0] / eigenvalues[-1] == pytest.approx(expected, rel=0.1, abs=1e-12)


@pytest.mark.parametrize("n_points, kept", [(4, 4), (6, 6), (15, 6)])
def test_an_orthogonal_query_has_at_most_n_dims_points(n_points, kept):
    task = TASK.model_copy(update={"n_points": n_points})
    assert prompting_suites(task)["orthogonal_query"].n_points == kept


def test_inputs_that_are_neither_gaussian_nor_uniform_are_refused():
    task = LinearRegression(n_dims=3, inputs=OneHot(n_dims=3))
    with pytest.raises(MesascopeError, match=r"of one_hot\(n_dims=3\); expected Gaussian or uniform"):
        prompting_suites(task)
