import pytest
import torch

from mesascope.models import LinearRegression, MesascopeError
from mesascope.models.inputs import Gaussian, Mixture, Uniform
from mesascope.models.spectra import Fixed, LogUniform, TwoLevel

TASK = LinearRegression(n_dims=3, n_points=5, noise_std=0.1)
MIXTURE = Mixture(components=(Gaussian(), Gaussian(spectrum=LogUniform(kappa=30)), Uniform()))


@pytest.mark.parametrize("batch", [1, 7, 64, 100, 150])
@pytest.mark.parametrize("inputs", [Gaussian(), MIXTURE], ids=["isotropic", "mixture"])
def test_a_sample_depends_on_seed_and_index_not_on_batch_size(batch, inputs):
    task = LinearRegression(n_dims=3, n_points=5, inputs=inputs, noise_std=0.1)
    whole = task.sample(150, seed=4)
    for start in range(0, 150, batch):
        part = task.sample(min(batch, 150 - start), seed=4, start=start)
        for name in ("xs", "ys", "w"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[start : start + batch])


def test_another_seed_or_stream_gives_other_prompts():
    reference = TASK.sample(10, seed=0).xs
    for other in (TASK.sample(10, seed=1), TASK.sample(10, seed=0, stream="train"), TASK.sample(10, seed=0, start=10)):
        assert (other.xs != reference).any(dim=(1, 2)).all()  # no prompt in common


def test_no_prompt_occurs_twice_in_a_stream():
    xs = TASK.sample(200, seed=0).xs.flatten(1)
    assert len(xs.unique(dim=0)) == 200


def test_noise_changes_neither_xs_nor_w():
    quiet, noisy = (TASK.model_copy(update={"noise_std": s}).sample(5, seed=0, dtype=torch.float64) for s in (0, 2.0))
    assert torch.equal(quiet.xs, noisy.xs)
    assert quiet.w is not None and noisy.w is not None and torch.equal(quiet.w, noisy.w)
    torch.testing.assert_close(quiet.ys, torch.einsum("bnd,bd->bn", quiet.xs, quiet.w))
    assert (noisy.ys - quiet.ys).std() > 1


def test_noise_has_its_standard_deviation():
    prompts = TASK.sample(4000, seed=0, dtype=torch.float64)
    assert prompts.w is not None
    noise = prompts.ys - torch.einsum("bnd,bd->bn", prompts.xs, prompts.w)
    assert abs(noise.std().item() - 0.1) < 4 * 0.1 / (2 * noise.numel()) ** 0.5


def test_w_std_scales_w_alone():
    one, three = (LinearRegression(w_std=s).sample(4, seed=0, dtype=torch.float64) for s in (1.0, 3.0))
    assert one.w is not None and three.w is not None
    assert torch.equal(one.xs, three.xs)
    torch.testing.assert_close(three.w, 3 * one.w)
    torch.testing.assert_close(three.ys, 3 * one.ys)


def test_float32_is_the_default_and_a_rounding_of_float64():
    single, double = TASK.sample(3, seed=0), TASK.sample(3, seed=0, dtype=torch.float64)
    assert single.xs.dtype == torch.float32
    assert torch.equal(single.xs, double.xs.float()) and torch.equal(single.ys, double.ys.float())


@pytest.mark.parametrize(
    "inputs", [Gaussian(), Gaussian(spectrum=TwoLevel()), Uniform(half_width=0.5), MIXTURE], ids=repr
)
@pytest.mark.parametrize("w_std, noise_std", [(1.0, 0.0), (0.4, 0.7)])
def test_the_null_loss_is_the_mean_square_of_y(inputs, w_std, noise_std):
    task = LinearRegression(n_dims=4, n_points=6, inputs=inputs, w_std=w_std, noise_std=noise_std)
    per_prompt = task.sample(4000, seed=1, dtype=torch.float64).ys.square().mean(1)
    assert abs(per_prompt.mean() - task.null_loss) < 4 * per_prompt.std() / 4000**0.5


def test_a_mixture_lists_its_components_as_tasks_and_a_plain_task_lists_itself():
    task = LinearRegression(n_dims=3, inputs=MIXTURE, noise_std=0.2)
    parts = task.components()
    assert list(parts) == ["gaussian isotropic", "gaussian log_uniform(kappa=30)", "uniform(half_width=1)"]
    assert list(parts.values()) == [task.model_copy(update={"inputs": part}) for part in MIXTURE.components]
    assert TASK.components() == {"gaussian isotropic": TASK}


@pytest.mark.parametrize(
    "field, value", [("n_dims", 0), ("n_points", 0), ("w_std", 0), ("noise_std", -1), ("nosie", 1)]
)
def test_an_impossible_field_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        LinearRegression(**{field: value})


def test_a_task_survives_json():
    task = LinearRegression(n_dims=3, inputs=MIXTURE, w_std=0.3)
    assert LinearRegression.model_validate_json(task.model_dump_json()) == task


@pytest.mark.parametrize("n_prompts, start", [(0, 0), (3, -1)])
def test_prompts_that_do_not_exist_are_refused(n_prompts, start):
    with pytest.raises(MesascopeError, match=f"n_prompts={n_prompts}, start={start}: expected"):
        LinearRegression().sample(n_prompts, seed=0, start=start)


def test_a_fixed_spectrum_of_another_dimension_is_refused_at_once():
    with pytest.raises(ValueError, match="spectrum has 2 eigenvalues but n_dims=5"):
        LinearRegression(n_dims=5, inputs=Gaussian(spectrum=Fixed(eigenvalues=(1.0, 2.0))))
