import numpy as np
import pytest
import torch

from mesascope.models import LeastSquares, MesascopeError, Prompts
from mesascope.probes import Spectrum
from mesascope.probes.spectrum import UNITS, Parts
from tests.probes.prompts import sampled


@pytest.fixture(scope="module")
def prompts():
    return sampled()


@pytest.mark.parametrize("unit", UNITS)
def test_parts_add_up_to_least_squares(unit, prompts):
    for spectrum in Spectrum.of(prompts, [2, 5, 10]):
        exact = LeastSquares().predict(prompts)[:, spectrum.point]
        torch.testing.assert_close(spectrum.parts(unit).z.sum(1), exact, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_invariant_as_they_say(unit, prompts):
    # Twice x is 4 S: 4 times λ/t, and the same λ beside S's own size.
    (spectrum,), (larger,) = (Spectrum.of(Prompts(k * prompts.xs, prompts.ys), [10]) for k in (1, 2))
    shift = np.log(4) if unit == "points" else 0.0
    torch.testing.assert_close(larger.parts(unit).x, spectrum.parts(unit).x + shift)


def test_prompts_decomposed_in_batches_have_the_spectrum_of_all(prompts):
    _ = prompts.decomposition
    fresh = Prompts(prompts.xs, prompts.ys, prompts.w)
    for whole, batched in zip(Spectrum.of(prompts, [2, 5, 10, 15]), Spectrum.of(fresh, [2, 5, 10, 15]), strict=True):
        torch.testing.assert_close(whole.eigenvalues, batched.eigenvalues)
        torch.testing.assert_close(whole.products, batched.products, atol=1e-9, rtol=1e-9)
    assert "decomposition" not in vars(fresh)


def test_quantiles_weigh_what_each_direction_adds():
    x, z = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).double(), torch.tensor([[0.0, -2.0], [1.0, 1.0]]).double()
    assert Parts(x, z).quantiles([0.0, 0.5, 0.75, 1.0]).tolist() == [1, 1, 2, 3]
    assert Parts(x, 0 * z).quantiles([0.0, 1.0]).tolist() == [0, 0]


def test_an_unknown_unit_is_refused(prompts):
    with pytest.raises(MesascopeError, match="no unit of λ is called 'tops'; did you mean 'top'"):
        Spectrum.of(prompts, [3])[0].parts("tops")
