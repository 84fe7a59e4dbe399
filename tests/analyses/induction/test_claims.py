import pytest

from mesascope.analyses.induction.claims import in_a_word
from mesascope.analyses.induction.verdict import COPY_LIKE, NEITHER, NO_COPY, QUERY, UNDETERMINED


@pytest.mark.parametrize(
    "copies, queries, said",
    [
        (NEITHER, NEITHER, "neither"),
        (COPY_LIKE, NEITHER, "copy-like"),
        (UNDETERMINED, NEITHER, "copying undetermined"),
        (NEITHER, UNDETERMINED, "querying undetermined"),
        (UNDETERMINED, QUERY, "query head and copying undetermined"),
        (UNDETERMINED, UNDETERMINED, "querying undetermined and copying undetermined"),
        (NO_COPY, QUERY, "query head and no copy head"),
    ],
)
def test_a_head_that_is_undetermined_is_so_in_something(copies, queries, said):
    assert in_a_word(copies, queries) == said
