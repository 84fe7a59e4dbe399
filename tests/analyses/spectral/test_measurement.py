import pytest

from mesascope.analyses.spectral.measurement import choose_prefixes


@pytest.mark.parametrize(
    "points, n_dims, expected",
    [(range(20), 5, [2, 5, 7, 19]), (range(41), 20, [10, 20, 30, 40]), ((20,), 10, [20]), (range(3), 5, [2])],
)
def test_prefixes_are_measured_in_dimensions(points, n_dims, expected):
    assert choose_prefixes(points, n_dims) == expected
