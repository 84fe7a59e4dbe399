import math

import pytest
import torch

from mesascope.models.inputs import Uniform
from mesascope.models.tasks import Sine


def waves(task, n_prompts=3000):
    """Amplitude and phase of each prompt, read off at x = 0 and x = π/2."""
    xs = torch.tensor([[[0.0], [math.pi / 2]]], dtype=torch.float64).expand(n_prompts, 2, 1)
    sine, cosine = task.function(n_prompts, torch.Generator().manual_seed(0)).evaluate(xs).unbind(1)
    return torch.hypot(sine, cosine), torch.atan2(sine, cosine)


def test_amplitude_and_phase_fill_their_intervals():
    for task in (Sine(), Sine(amplitude=(1, 2), phase=(-0.5, 0.5)), Sine(correlated=True)):
        for seen, (low, high) in zip(waves(task), (task.amplitude, task.phase), strict=True):
            u = (seen - low) / (high - low)
            assert -1e-9 <= u.min() < 0.01 and 0.99 < u.max() <= 1 + 1e-9
            assert abs(u.mean() - 0.5) < 4 * (1 / 12 / 3000) ** 0.5


@pytest.mark.parametrize("correlated", [False, True])
def test_amplitude_and_phase_are_independent_or_one_number(correlated):
    correlation = torch.corrcoef(torch.stack(waves(Sine(correlated=correlated))))[0, 1]
    assert (correlation > 1 - 1e-9) if correlated else (abs(correlation) < 4 / 3000**0.5)


def test_y_is_the_sine():
    task = Sine(amplitude=(0.3, 0.3), phase=(1.0, 1.0), w_std=2.0)
    prompts = task.sample(20, seed=0, dtype=torch.float64)
    torch.testing.assert_close(prompts.ys, 0.6 * torch.sin(prompts.xs[..., 0] + 1))
    assert prompts.xs.min() < -4.8 and prompts.xs.max() > 4.8


def test_the_null_loss_is_von_oswalds():
    """Its half of E y² is .0257, measured; here .0258 independent, by hand ½·E a²/2, and .0259 correlated."""
    mean_square = (0.1**2 + 0.1 * 0.5 + 0.5**2) / 3
    assert Sine().null_loss == pytest.approx(mean_square / 2, rel=1e-12)  # E cos 2p = 0 over half a turn
    assert Sine().null_loss / 2 == pytest.approx(0.0257, abs=3e-4)
    # E a² cos 2p with a = .1 + .4u, p = πu is .16 ∫u² cos 2πu = .16/(2π²).
    together = 0.16 / (2 * math.pi**2)
    expected = (mean_square - math.sin(10) / 10 * together) / 2
    assert Sine(correlated=True).null_loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("field", ["amplitude", "phase"])
def test_an_interval_that_does_not_ascend_is_refused(field):
    with pytest.raises(ValueError, match=rf"{field}=\(1, 0.5\): expected an interval \(low, high\)"):
        Sine(**{field: (1, 0.5)})


def test_more_than_one_dimension_is_refused_by_name():
    with pytest.raises(ValueError, match="n_dims\n.*should be 1"):
        Sine(n_dims=2)


def test_its_inputs_are_von_oswalds_unless_given():
    assert Sine().inputs == Uniform(half_width=5)
    assert Sine(inputs=Uniform(half_width=1)).inputs == Uniform(half_width=1)
