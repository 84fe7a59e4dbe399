import pytest

from mesascope.analyses.identification import design
from mesascope.analyses.identification.design import candidates, design_prompts
from mesascope.models import GradientDescent, LeastSquares, LinearRegression, MesascopeError, Newton, Ridge
from mesascope.models.inputs import Gaussian, Uniform

TASK = LinearRegression(n_dims=3, n_points=8)


@pytest.fixture(scope="module")
def newton_against_gd():
    return design_prompts([Newton(4), GradientDescent(16, 0.1)], TASK)


def test_the_suite_with_the_worst_pair_farthest_is_chosen(newton_against_gd):
    shares = newton_against_gd.shares
    assert set(shares) == set(candidates(TASK))
    assert shares[newton_against_gd.name] == max(shares.values()) == newton_against_gd.discrimination.worst
    assert newton_against_gd.task == candidates(TASK)[newton_against_gd.name]


def test_the_design_says_how_many_prompts_it_takes(newton_against_gd):
    assert newton_against_gd.name in str(newton_against_gd) and "prompts tell them apart" in str(newton_against_gd)


@pytest.mark.slow
def test_the_same_seed_designs_the_same_and_another_on_other_prompts(newton_against_gd, monkeypatch):
    monkeypatch.setattr(design, "N_PROMPTS", 40)
    rivals = [Newton(4), Ridge(0.5)]
    one, again, other = (design_prompts(rivals, TASK, seed) for seed in (0, 0, 1))
    assert one == again and one.shares != other.shares


def test_points_may_be_counted_from_the_end(monkeypatch):
    monkeypatch.setattr(design, "N_PROMPTS", 40)
    rivals = [Newton(4), Ridge(0.5)]
    last, every = (design_prompts(rivals, TASK, points=points) for points in ([-1], None))
    assert last.shares != every.shares
    assert last.shares["the task itself"] == pytest.approx(
        design_prompts(rivals, TASK, points=[TASK.n_points - 1]).shares["the task itself"]
    )


@pytest.mark.parametrize("rivals, got", [([], "no family"), ([Newton(3), Newton(4)], "Newton")])
def test_one_family_cannot_be_told_from_itself(rivals, got):
    with pytest.raises(MesascopeError, match=f"got rivals of .*{got}.*; expected two or more"):
        design_prompts(rivals, TASK)


@pytest.mark.parametrize("inputs", [Gaussian(scale=0.3), Uniform(half_width=2.0)])
def test_candidates_vary_spectrum_noise_scale_and_length_around_the_task(inputs):
    task = TASK.model_copy(update={"inputs": inputs})
    found = candidates(task)
    assert next(iter(found.items())) == ("the task itself", task)
    assert {each.n_dims for each in found.values()} == {3}
    scale = {name: each.inputs.mean_square / inputs.mean_square for name, each in found.items()}
    assert scale["log_uniform(100), x times 2"] == pytest.approx(4 * scale["spectrum log_uniform(100)"], rel=1e-6)
    assert scale["log_uniform(100), x times 0.5"] == pytest.approx(0.25 * scale["spectrum log_uniform(100)"], rel=1e-6)
    assert scale["spectrum log_uniform(100)"] == pytest.approx(1)
    noisy = found["log_uniform(100), noise 0.1"]
    assert noisy.noise_std == pytest.approx(0.1 * (task.null_loss - task.noise_std**2) ** 0.5)
    assert found["log_uniform(100), 4 points"].n_points == 4
    assert len(set(map(repr, found.values()))) >= len(found) - 1


def test_prompts_of_few_points_are_not_halved():
    assert not any("points" in name for name in candidates(TASK.model_copy(update={"n_points": 5})))


def test_learners_that_are_special_cases_need_not_be_told_apart(monkeypatch):
    monkeypatch.setattr(design, "N_PROMPTS", 40)
    found = design_prompts([Newton(4), LeastSquares()], TASK)
    assert found.discrimination.worst == 1 and "one rival alone" in str(found)
