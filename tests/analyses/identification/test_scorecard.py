import pytest
import torch

from mesascope.analyses import attach, identify
from mesascope.analyses.identification import scorecard
from mesascope.analyses.identification.scorecard import Score, Scorecard, by_length, keep_score, score, shifts
from mesascope.models import (
    GradientDescent,
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    Newton,
    QuadraticRegression,
    Ridge,
)
from mesascope.models.battery import rivals
from mesascope.models.inputs import Gaussian, Mixture, Uniform
from mesascope.models.spectra import Isotropic, LogUniform
from mesascope.probes import Estimate

from ..conftest import decoder

TASK = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=LogUniform(kappa=10)))
FEW = ("GD", "Newton", "ridge", "least squares", "averaging")


class Made:
    def __init__(self, predict):
        self.predict = predict


@pytest.fixture(autouse=True, scope="module")
def few_prompts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorecard, "N_PROMPTS", 100)
        yield


def identified(predictor, task=TASK):
    sweeps = [sweep for sweep in rivals(task) if sweep.learner.family in FEW]
    return identify(attach(predictor, task=task), n_prompts=100, n_tune=60, rivals=sweeps)


@pytest.fixture(scope="module")
def newton():
    return identified(Newton(3))


@pytest.mark.parametrize("learner", [Newton(3), LeastSquares(), Ridge(0.5), GradientDescent(7, 0.1)], ids=repr)
def test_an_exact_learner_survives_everything_and_is_implemented(learner):
    result = identified(learner)
    card = result.scorecard
    assert card is not None and card.failed == () and len(card.survived) == len(shifts(TASK)) - 1
    assert result.summary == f"implements {learner.family}"
    assert result.claims[0].text.startswith(f"The model implements {learner.family}")
    assert card.allowed == 0.01


def large(prompts):
    """Whether x is beyond what the training distribution knows: E|x|² = 3."""
    return prompts.xs.square().mean() > 2


def test_one_that_switches_learners_under_x_scale_only_matches_where_it_was_trained():
    result = identified(Made(lambda p: (LeastSquares() if large(p) else Newton(3)).predict(p)))
    card = result.scorecard
    assert card is not None and result.verdict == "Newton"
    assert result.summary == "matches Newton on its training distribution"
    assert {"x scale 2", "x scale 3"} <= set(card.failed) and "x scale 0.5" in card.survived
    assert "not under" in result.claims[0].text and "x scale 2" in result.claims[0].text
    assert result.claims[0].verdict == result.summary
    assert "Does it hold elsewhere?" in [figure.title for figure in result.figures()]


def test_one_that_depends_on_the_order_of_points_fails_when_they_are_sorted():
    def predict(prompts):
        lengths = prompts.xs[:, :-1].norm(dim=-1)
        ordered = (lengths.diff(dim=1) >= 0).all(1, keepdim=True)
        return torch.where(ordered, 0.5, 1.0) * Newton(3).predict(prompts)

    card = identified(Made(predict)).scorecard
    # Of four points, the first three are in order by chance in one prompt of six.
    assert card is not None and set(card.failed) == {"sorted by |x|", "4 points"}


def test_scalars_stay_as_they_were_fitted(newton):
    # η that is tuned to the scale of x would pass everywhere, were it fitted anew.
    def predict(prompts):
        return GradientDescent(5, 0.1 / prompts.xs.square().mean().item()).predict(prompts)

    result = identified(Made(predict))
    if result.scorecard is not None:
        assert {"x scale 2", "x scale 0.333"} <= set(result.scorecard.failed)


def test_shifts_cover_scale_covariance_noise_length_order_and_gargs_suites():
    names = [shift.name for shift in shifts(TASK)]
    assert names[0] == "in distribution" and len(set(names)) == len(names)
    wanted = {"x scale 2", "w scale 2", "noisy", "skewed", "half subspace", "random quadrants", "opposite quadrants"}
    wanted |= {"orthogonal query", "overlapping query", "covariance of condition 100", "4 points", "18 points"}
    assert wanted | {"sorted by |x|"} <= set(names)
    tasks = {shift.name: shift.task for shift in shifts(TASK)}
    assert tasks["in distribution"] == TASK
    assert tasks["covariance of condition 100"].inputs.mean_square == pytest.approx(TASK.inputs.mean_square)
    queries = {shift.name for shift in shifts(TASK) if shift.last_only}
    assert queries == {"random quadrants", "opposite quadrants", "orthogonal query", "overlapping query"}


def test_a_mixture_of_inputs_is_shifted_from_its_first_and_others_not_at_all():
    mixture = TASK.model_copy(update={"inputs": Mixture(components=(Uniform(), Gaussian(spectrum=Isotropic())))})
    assert shifts(mixture)[0].task == mixture and len(shifts(mixture)) == len(shifts(TASK))
    skewed = next(shift.task for shift in shifts(TASK) if shift.name == "random quadrants")
    assert [shift.name for shift in shifts(skewed)] == ["in distribution"]


def test_sorting_keeps_points_with_their_y_and_the_query_last():
    prompts = TASK.sample(20, seed=0, dtype=torch.float64)
    found = by_length(prompts)
    lengths = found.xs[:, :-1].norm(dim=-1)
    assert (lengths.diff(dim=1) >= 0).all()
    torch.testing.assert_close(found.xs[:, -1], prompts.xs[:, -1], rtol=0, atol=0)
    torch.testing.assert_close(found.ys[:, -1], prompts.ys[:, -1], rtol=0, atol=0)
    assert prompts.w is not None
    torch.testing.assert_close((found.xs * prompts.w[:, None]).sum(-1), found.ys)


def test_what_cannot_be_run_says_why_and_fails_nothing(newton):
    def predict(prompts):
        if prompts.n_points > 9:
            raise MesascopeError("this predictor takes 9 points at most")
        return Newton(3).predict(prompts)

    card = identified(Made(predict)).scorecard
    assert card is not None and card.failed == ()
    (skipped,) = [score for score in card.scores if score.missed is None]
    assert skipped.shift == "18 points" and skipped.reason == "this predictor takes 9 points at most"
    assert skipped.survives(card.allowed) is None
    assert "18 points" not in card.survived
    assert card.data()["scores"][[s.shift for s in card.scores].index("18 points")]["missed"] is None


def test_a_model_of_fixed_length_is_shifted_as_far_as_it_reads(newton):
    model = decoder()
    assert isinstance(model, HookedRegressor)
    longer = next(shift for shift in shifts(TASK) if shift.name == "18 points")
    found = score(attach(model, task=TASK), newton.output, longer)
    assert found.missed is None and "\n" not in found.reason and found.reason


def test_what_is_missed_is_measured_by_the_smaller_of_error_and_size(newton):
    noise = 0.05

    def predict(prompts):
        return Newton(3).predict(prompts) * (1 + noise)

    plain = shifts(TASK)[0]
    found = score(attach(Made(predict), task=TASK), newton.output, plain)
    prompts = attach(Newton(3), task=TASK).prompts(100, "shift")
    exact, ys = Newton(3).predict(prompts)[:, 1:], prompts.ys[:, 1:]
    # Bounds do not reach Newton's third step here.
    scale = min(exact.square().sum().item(), (exact - ys).square().sum().item())
    assert found.missed is not None
    assert found.missed.value == pytest.approx(noise**2 * exact.square().sum().item() / scale, rel=0.05)
    assert found.missed.low <= found.missed.value <= found.missed.high


def test_where_there_is_nothing_to_predict_nothing_must_be_predicted(newton):
    orthogonal = next(shift for shift in shifts(TASK) if shift.name == "orthogonal query")
    right, wrong = (
        score(attach(predictor, task=TASK), newton.output, orthogonal)
        for predictor in (Newton(3), Made(lambda p: Newton(3).predict(p) + 1.0))
    )
    assert right.missed is not None and right.missed.value < 1e-9
    assert wrong.missed is not None and wrong.missed.value > 0.01


def test_twice_what_is_missed_in_distribution_is_allowed():
    def missed(value):
        return Score("s", Estimate(value, value, value), "")

    card = Scorecard("A", (missed(0.05), missed(0.0999), missed(0.1001)), 0.1)
    assert card.survived == ("s",) and card.failed == ("s",)
    result = identified(Made(lambda p: Newton(3).predict(p) + 0.02 * p.xs[..., 0].sin()))
    if result.scorecard is not None:
        inside = result.scorecard.scores[0].missed
        assert inside is not None and result.scorecard.allowed == max(0.01, 2 * inside.value)


def test_a_name_is_implemented_if_it_survives_every_shift_that_could_be_run():
    good, bad = Score("s", Estimate(0.0, 0.0, 0.0), ""), Score("t", Estimate(1.0, 1.0, 1.0), "")
    not_run = Score("u", None, "the model reads no other length")
    assert Scorecard("A", (good, good), 0.01).summary("A") == "implements A"
    assert Scorecard("A", (good, good, not_run), 0.01).summary("A") == "implements A"
    assert Scorecard("A", (good, not_run), 0.01).summary("A") == "A"
    assert Scorecard("A", (good, good, bad), 0.01).summary("A") == "matches A on its training distribution"


@pytest.mark.parametrize("predictor", [lambda p: 0 * p.ys, lambda p: p.xs[..., 0].sin() * p.xs[..., 1].exp()])
def test_what_has_no_name_is_held_against_no_shift(predictor):
    result = identified(Made(predictor))
    assert result.scorecard is None and result.summary == result.verdict


def test_there_are_no_shifts_off_linear_tasks(newton):
    task = QuadraticRegression(n_dims=3, n_points=9)
    assert keep_score(attach(Newton(3), task=task), newton.output) is None
