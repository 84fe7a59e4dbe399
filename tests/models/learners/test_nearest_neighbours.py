import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from mesascope.models import LinearRegression, Prompts
from mesascope.models.inputs import OverlappingQuery
from mesascope.models.learners import NearestNeighbours
from tests.models.learners.prompts import members_of, prompts_of, rotated


@pytest.mark.parametrize("k", [1, 3, 20])
def test_it_is_scikit_learns_at_every_prefix(k):
    prompts = prompts_of()
    expected = torch.zeros_like(prompts.ys)
    for b in range(len(prompts)):
        for t in range(1, prompts.n_points):
            model = KNeighborsRegressor(min(k, t)).fit(prompts.xs[b, :t].numpy(), prompts.ys[b, :t].numpy())
            expected[b, t] = model.predict(prompts.xs[b, t : t + 1].numpy())[0]
    torch.testing.assert_close(NearestNeighbours(k).predict(prompts), expected)


def test_with_as_many_neighbours_as_points_it_is_the_running_mean():
    prompts = prompts_of()
    sums = prompts.ys.cumsum(1) - prompts.ys
    expected = sums / torch.arange(12).clamp(min=1)
    torch.testing.assert_close(NearestNeighbours(12).predict(prompts), expected)
    torch.testing.assert_close(NearestNeighbours(99).predict(prompts), expected)


def test_one_neighbour_remembers_a_repeated_point_exactly():
    """Also far from the origin, where |x|² + |z|² − 2x·z would cancel."""
    prompts = LinearRegression(n_dims=40, n_points=30, inputs=OverlappingQuery()).sample(64, seed=0)
    far = Prompts(prompts.xs + 1e3, prompts.ys)
    for repeated in (prompts, far):
        assert torch.equal(NearestNeighbours(1).predict(repeated)[:, -1], prompts.ys[:, -1].double())


def test_of_two_points_at_the_same_distance_the_earlier_one_is_nearer():
    xs = torch.tensor([[[1.0], [-1.0], [0.0]]])
    assert NearestNeighbours(1).predict(Prompts(xs, torch.tensor([[5.0, 7.0, 0.0]])))[0, -1] == 5


def test_rotating_x_changes_no_prediction():
    prompts = prompts_of()
    torch.testing.assert_close(NearestNeighbours(3).predict(rotated(prompts, 1)), NearestNeighbours(3).predict(prompts))


def test_a_prediction_sees_neither_its_own_y_nor_what_comes_later():
    prompts = prompts_of()
    xs, ys = prompts.xs.clone(), prompts.ys.clone()
    xs[:, 7:], ys[:, 6:] = 5.0, -5.0
    assert torch.equal(
        NearestNeighbours(3).predict(Prompts(xs, ys))[:, :7], NearestNeighbours(3).predict(prompts)[:, :7]
    )


def test_a_number_of_neighbours_below_one_is_refused():
    with pytest.raises(ValueError, match=r"NearestNeighbours\(k=0\): expected k >= 1"):
        NearestNeighbours(0)


def test_its_label_has_its_number():
    assert repr(NearestNeighbours(3)) == "<NearestNeighbours 3-nearest neighbours>"


@pytest.mark.parametrize("n_points, most", [(1, 1), (4, 3), (40, 8)])
def test_its_grid_has_no_more_neighbours_than_there_are_examples(n_points, most):
    members = members_of(NearestNeighbours, LinearRegression(n_dims=3, n_points=n_points))
    assert [member.k for member in members] == list(range(1, most + 1))
    assert [member.strength for member in members] == [{"k": float(member.k)} for member in members]
