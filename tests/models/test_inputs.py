import pytest
import torch

from mesascope.models.inputs import Gaussian, Mixture, Uniform, describe_inputs, random_bases
from mesascope.models.spectra import Fixed, LogUniform, TwoLevel
from mesascope.models.streams import generator


def test_random_bases_are_orthogonal():
    bases = random_bases(20, 5, generator(0))
    torch.testing.assert_close(bases @ bases.mT, torch.eye(5, dtype=torch.float64).expand(20, 5, 5))


def test_random_bases_are_haar_distributed():
    """Under Haar's law E Q = 0 and E Q_ij² = 1/d for every entry; plain QR has a diagonal of one sign."""
    n, d = 20_000, 3
    bases = random_bases(n, d, generator(0))
    assert bases.mean(0).abs().max() < 5 * (1 / d / n) ** 0.5
    assert (bases.square().mean(0) - 1 / d).abs().max() < 5 * (1 / n) ** 0.5
    assert 0.45 < (torch.linalg.det(bases) > 0).double().mean() < 0.55
    plain = torch.linalg.qr(torch.randn(n, d, d, generator=generator(0), dtype=torch.float64)).Q
    assert plain.mean(0).abs().max() > 0.1  # the control: this is what the sign repair is for


@pytest.mark.parametrize(
    "inputs",
    [
        Gaussian(),
        Gaussian(spectrum=LogUniform(kappa=30)),
        Uniform(),
        Uniform(half_width=0.5),
        Mixture(components=(Gaussian(), Uniform(half_width=0.5))),
    ],
    ids=repr,
)
def test_mean_square_is_the_variance_of_a_coordinate(inputs):
    xs = inputs.sample(4000, 5, 4, generator(0))
    assert xs.shape == (4000, 5, 4) and xs.dtype == torch.float64
    per_prompt = xs.square().mean((1, 2))
    standard_error = per_prompt.std() / 4000**0.5
    assert abs(per_prompt.mean() - inputs.mean_square) < 4 * standard_error
    assert xs.mean((0, 1)).abs().max() < 0.05  # 20,000 draws of variance at most 1: seven standard errors


def test_uniform_inputs_fill_their_cube():
    xs = Uniform(half_width=0.5).sample(500, 4, 3, generator(0))
    assert 0.49 < xs.max() <= 0.5 and -0.5 <= xs.min() < -0.49


def test_every_prompt_has_the_given_spectrum_in_a_basis_of_its_own():
    spectrum = Fixed(eigenvalues=(8.0, 1.0, 1.0))
    xs = Gaussian(spectrum=spectrum).sample(3, 20_000, 3, generator(0))
    covariances = xs.mT @ xs / 20_000
    eigenvalues, vectors = torch.linalg.eigh(covariances)
    expected = torch.tensor([0.3, 0.3, 2.4], dtype=torch.float64).expand(3, 3)
    torch.testing.assert_close(eigenvalues, expected, rtol=0.05, atol=0)  # 20,000 points: 1% each, 5σ
    top = vectors[..., -1]
    overlaps = (top @ top.T).abs()[~torch.eye(3, dtype=torch.bool)]
    assert overlaps.max() < 0.99  # no two prompts share the top direction


def test_isotropic_inputs_need_no_basis_and_are_plain_normal_numbers():
    expected = torch.randn(2, 3, 4, generator=generator(0), dtype=torch.float64)
    assert torch.equal(Gaussian().sample(2, 3, 4, generator(0)), expected)


def test_a_mixture_takes_each_component_equally_often_and_whole_prompts_at_a_time():
    mixture = Mixture(components=(Gaussian(), Uniform(half_width=1e-3)))
    xs = mixture.sample(2000, 4, 3, generator(0))
    small = xs.abs().amax((1, 2)) <= 1e-3
    assert abs(small.double().mean() - 0.5) < 4 * 0.5 / 2000**0.5
    big = xs[~small].square().sum(-1)
    assert (big > 1e-5).all()  # no tiny point inside a Gaussian prompt


def test_a_mixture_of_one_is_refused():
    with pytest.raises(ValueError, match="at least 2 items"):
        Mixture(components=(Gaussian(),))


def test_inputs_are_described_by_kind_spectrum_and_scalars():
    wide = Gaussian(spectrum=LogUniform(kappa=30))
    assert describe_inputs(Gaussian()) == "gaussian isotropic"
    assert describe_inputs(Gaussian(spectrum=TwoLevel())) == "gaussian two_level(ratio=100)"
    assert describe_inputs(Gaussian(spectrum=Fixed(eigenvalues=(1, 2)))) == "gaussian fixed(eigenvalues=(1.0, 2.0))"
    described = describe_inputs(Mixture(components=(wide, Uniform(half_width=0.5))))
    assert described == "gaussian log_uniform(kappa=30) | uniform(half_width=0.5)"
