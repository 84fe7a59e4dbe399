import pytest
import torch

from mesascope.models import MesascopeError
from mesascope.models.spectra import Fixed, Geometric, HalfSubspace, Isotropic, LogUniform, Skewed, TwoLevel
from mesascope.models.streams import generator

SPECTRA = [
    Isotropic(),
    Geometric(kappa=50.0),
    LogUniform(kappa=30.0),
    TwoLevel(),
    TwoLevel(ratio=7.0),
    HalfSubspace(),
    Skewed(),
    Fixed(eigenvalues=(3.0, 1.0, 1.0, 0.5, 0.0, 2.0)),
]


@pytest.mark.parametrize("spectrum", SPECTRA, ids=repr)
def test_every_spectrum_has_trace_n_dims_and_no_negative_eigenvalue(spectrum):
    eigenvalues = spectrum.sample(50, 6, generator(0))
    assert eigenvalues.shape == (50, 6) and eigenvalues.dtype == torch.float64
    torch.testing.assert_close(eigenvalues.sum(-1), torch.full((50,), 6.0, dtype=torch.float64))
    assert (eigenvalues >= 0).all()


def condition(spectrum, n_prompts=50, n_dims=6):
    eigenvalues = spectrum.sample(n_prompts, n_dims, generator(0))
    return eigenvalues.amax(-1) / eigenvalues.amin(-1)


def test_isotropic_and_limits_of_the_others_have_condition_one():
    for spectrum in (Isotropic(), Geometric(kappa=1), LogUniform(kappa=1), TwoLevel(ratio=1)):
        torch.testing.assert_close(condition(spectrum), torch.ones(50, dtype=torch.float64))


def test_geometric_has_exactly_its_condition_and_equal_ratios():
    torch.testing.assert_close(condition(Geometric(kappa=50)), torch.full((50,), 50.0, dtype=torch.float64))
    ratios = torch.diff(Geometric(kappa=50).sample(1, 6, generator(0)).log())
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))


def test_log_uniform_stays_below_its_condition_and_comes_near_it():
    seen = condition(LogUniform(kappa=30), n_prompts=2000, n_dims=10)
    assert seen.max() <= 30
    assert seen.max() > 25 and seen.min() < 10  # 2000 draws of 10: the range is filled, and it varies


def test_log_uniform_is_uniform_in_the_logarithm():
    # For one dimension pair the trace drops out: log(a/b)/log κ = u_b − u_a has the triangular law, variance 1/6.
    pairs = LogUniform(kappa=30).sample(20_000, 2, generator(0)).log()
    spread = (pairs[:, 0] - pairs[:, 1]) / torch.log(torch.tensor(30.0, dtype=torch.float64))
    assert spread.mean().abs() < 4 * (1 / 6 / 20_000) ** 0.5
    assert abs(spread.var().item() - 1 / 6) < 0.006  # four standard errors


def test_two_level_is_fus_spectrum_at_the_default():
    eigenvalues = TwoLevel().sample(3, 20, generator(0))
    torch.testing.assert_close(eigenvalues[0, 0].item(), 200 / 101)  # 1.98
    torch.testing.assert_close(eigenvalues[0, -1].item(), 2 / 101)  # 0.0198
    assert (eigenvalues[:, :10] == eigenvalues[0, 0]).all() and (eigenvalues[:, 10:] == eigenvalues[0, -1]).all()


@pytest.mark.parametrize("n_dims, rank", [(1, 1), (5, 3), (6, 3)])
def test_half_of_the_eigenvalues_of_a_half_subspace_are_zero(n_dims, rank):
    eigenvalues = HalfSubspace().sample(2, n_dims, generator(0))
    assert (eigenvalues[:, :rank] == n_dims / rank).all() and (eigenvalues[:, rank:] == 0).all()


def test_skewed_is_the_square_of_gargs_transformation():
    """Its code scales the transformation T to tr T² = n_dims, and x = z T."""
    raw = 1 / torch.arange(1, 7, dtype=torch.float64)
    transformation = raw * (6 / raw.square().sum()) ** 0.5
    torch.testing.assert_close(Skewed().sample(1, 6, generator(0))[0], transformation.square())
    torch.testing.assert_close(condition(Skewed()), torch.full((50,), 36.0, dtype=torch.float64))


def test_fixed_keeps_the_given_proportions():
    eigenvalues = Fixed(eigenvalues=(1.0, 3.0)).sample(2, 2, generator(0))
    torch.testing.assert_close(eigenvalues, torch.tensor([[0.5, 1.5]] * 2, dtype=torch.float64))


@pytest.mark.parametrize("eigenvalues", [(1.0,), (1.0, -1.0), (0.0, 0.0)])
def test_fixed_refuses_a_spectrum_that_does_not_fit(eigenvalues):
    with pytest.raises(MesascopeError, match="one non-negative number per dimension"):
        Fixed(eigenvalues=eigenvalues).sample(1, 2, generator(0))


@pytest.mark.parametrize("kind", [Geometric, LogUniform])
def test_a_condition_below_one_is_refused(kind):
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        kind(kappa=0.5)
