import pytest

from mesascope.models.training.curriculum import Curriculum, Growth

# Garg et al. (2022), appendix A.2: 5 dimensions and 11 points, one and two more every 2000 steps.
GARG = Curriculum(n_dims=Growth(start=5, every=2000), n_points=Growth(start=11, step=2, every=2000))


@pytest.mark.parametrize(
    "index, dims, points", [(0, 5, 11), (1999, 5, 11), (2000, 6, 13), (30_000, 20, 41), (500_000, 20, 41)]
)
def test_the_published_curriculum_reaches_20_dimensions_and_41_points_after_30000_steps(index, dims, points):
    assert (GARG.dims(index, 20), GARG.points(index, 41)) == (dims, points)


def test_without_growth_everything_is_there_from_the_start():
    assert (Curriculum().dims(0, 20), Curriculum().points(0, 41)) == (20, 41)


def test_a_start_beyond_the_end_is_the_end():
    assert Growth(start=9, every=1).at(0, 5) == 5
