from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesascope.analyses import Claim, Result
from mesascope.analyses.claim import finite, fixed


def claim(name: str, value: float | None = 0.5) -> Claim:
    return Claim(name, "A sentence.", value, (0.25, float("inf")), None, "decodable")


@dataclass(frozen=True)
class Found(Result):
    name: ClassVar[str] = "found"
    title: ClassVar[str] = "Found"
    question: ClassVar[str] = "What?"

    @property
    def claims(self) -> tuple[Claim, ...]:
        return claim("first"), claim("second", float("nan"))

    def data(self) -> dict[str, Any]:
        return {"values": (1.0, float("nan"), {"deep": [float("-inf"), "NaN", 2]})}


def test_json_holds_null_where_a_number_is_not_finite():
    content = Found().to_json()
    assert content["data"] == {"values": [1.0, None, {"deep": [None, "NaN", 2]}]}
    assert [found["value"] for found in content["claims"]] == [0.5, None]
    assert content["claims"][0]["ci"] == [0.25, None]


def test_a_claim_in_json_has_exactly_the_published_fields():
    assert set(Found().to_json()["claims"][0]) == {"id", "text", "value", "ci", "null", "verdict"}


def test_the_first_claim_is_the_headline_and_there_is_nothing_else_by_default():
    assert Found().headlines == (claim("first"),)
    assert Found().figures() == Found().warnings == ()
    assert Result.data(Found()) == {}


def test_a_result_without_claims_is_no_result():
    with pytest.raises(NotImplementedError):
        _ = Result().claims


def test_claims_are_frozen():
    with pytest.raises(FrozenInstanceError):
        claim("first").value = 2.0  # type: ignore[misc]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(JSON)
def test_what_is_finite_already_stays_as_it_is(value):
    assert finite(value) == value


@pytest.mark.parametrize(
    "value, digits, text", [(0.12345, 3, "0.123"), (-0.0001, 3, "0.000"), (-0.6, 0, "-1"), (2.0, 1, "2.0")]
)
def test_fixed_decimals_have_no_negative_zero(value, digits, text):
    assert fixed(value, digits) == text
