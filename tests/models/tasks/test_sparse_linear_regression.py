import pytest
import torch

from mesascope.models.inputs import Uniform
from mesascope.models.learners import Lasso
from mesascope.models.tasks import SparseLinearRegression


def test_as_many_coordinates_of_w_are_nonzero_as_it_says_and_each_equally_often():
    task = SparseLinearRegression(n_dims=8, n_points=2, sparsity=3)
    w = task.sample(4000, seed=0, dtype=torch.float64).w
    assert w is not None
    assert ((w != 0).sum(-1) == 3).all()
    assert ((w != 0).double().mean(0) - 3 / 8).abs().max() < 4 * (3 / 8 * 5 / 8 / 4000) ** 0.5
    chosen = w[w != 0]
    assert abs(chosen.var() - 1) < 4 * (2 / chosen.numel()) ** 0.5


def test_y_is_w_times_x():
    prompts = SparseLinearRegression().sample(5, seed=0, dtype=torch.float64)
    assert prompts.w is not None
    torch.testing.assert_close(prompts.ys, (prompts.xs @ prompts.w[..., None])[..., 0])


def test_the_penalty_of_the_lasso_has_units():
    """Scaling x by a and w by b scales the prediction by ab, which is only so if the penalty scales with a²b."""
    plain = SparseLinearRegression(n_dims=6, inputs=Uniform())
    scaled = SparseLinearRegression(n_dims=6, inputs=Uniform(half_width=2), w_std=3.0)
    predictions = [
        task.references()[0].predict(task.sample(5, seed=0, dtype=torch.float64)) for task in (plain, scaled)
    ]
    torch.testing.assert_close(predictions[1], 6 * predictions[0], atol=1e-6, rtol=1e-6)
    assert plain.references()[0] != scaled.references()[0]
    assert SparseLinearRegression().references()[0] == Lasso(0.01)


@pytest.mark.parametrize("sparsity, message", [(6, "sparsity=6 but n_dims=5"), (0, "sparsity")])
def test_an_impossible_sparsity_is_refused(sparsity, message):
    with pytest.raises(ValueError, match=message):
        SparseLinearRegression(sparsity=sparsity)
