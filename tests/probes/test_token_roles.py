import pytest

from mesascope.models.layouts import LAYOUTS
from mesascope.probes.token_roles import TokenRoles


def roles(layout):
    return TokenRoles.of(LAYOUTS[layout], 3, 2)


@pytest.mark.parametrize(
    "layout, x, y",
    [
        ("interleaved", (0, 2, 4), (1, 3, 5)),
        ("separate", (0, 2, 4), (1, 3)),
        ("joint", (0, 1), (0, 1)),
        ("scratch", (2, 3), (2, 3)),
        ("sequence", (0, 1, 2), (1, 2)),
    ],
)
def test_every_layout_says_where_x_and_y_of_a_point_are(layout, x, y):
    found = roles(layout)
    assert (found.x[: len(x)], found.y) == (x, y) and found.n_pairs == len(y)
    assert found.together is (layout in ("joint", "scratch"))


def test_the_query_has_an_x_of_its_own_and_no_y():
    assert roles("joint").x == (0, 1, 2) and roles("scratch").x == (2, 3, 4) and len(roles("separate").x) == 3


def test_tokens_are_called_by_what_they_hold():
    assert roles("separate").names == ("x_0", "y_0", "x_1", "y_1", "x_2")
    assert roles("joint").names == ("(x,y)_0", "(x,y)_1", "x_2")
    assert roles("scratch").names[:3] == ("e_0", "e_1", "(x,y)_0")


def test_in_a_sequence_the_y_of_a_point_is_the_next_token():
    found = roles("sequence")
    assert [found.x[i + 1] for i in range(found.n_pairs)] == list(found.y)
