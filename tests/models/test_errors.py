import pytest
from pydantic import ValidationError

from mesascope.models import LinearRegression
from mesascope.models.errors import MesascopeError, first_complaint, in_a_line, nearest


def test_a_wrong_name_suggests_the_nearest_one():
    assert nearest("frobenious", ["frobenius", "spectral"]) == "; did you mean 'frobenius'?"


def test_a_name_near_nothing_lists_what_there_is_but_not_too_much():
    assert nearest("xyz", ["alpha", "beta"]) == "; known: alpha, beta"
    many = nearest("xyz", [f"name-{i:02}" for i in range(13)])
    assert many.endswith("name-11, …")
    assert nearest("xyz", []) == ""


def test_a_complaint_is_one_line_with_field_and_value():
    with pytest.raises(ValidationError) as caught:
        LinearRegression.model_validate({"inputs": {"kind": "uniform", "half_width": -3}})
    assert first_complaint(caught.value) == "inputs.uniform.half_width: Input should be greater than 0 (got -3)"


def test_a_complaint_about_a_missing_field_quotes_no_value():
    with pytest.raises(ValidationError) as caught:
        LinearRegression.model_validate({"inputs": {"kind": "mixture"}})
    assert first_complaint(caught.value) == "inputs.mixture.components: Field required"


def test_a_complaint_about_the_whole_has_a_subject():
    with pytest.raises(ValidationError) as caught:
        LinearRegression.model_validate(3)
    assert first_complaint(caught.value).startswith("the config: ")


def test_a_mesascope_error_is_a_value_error():
    assert issubclass(MesascopeError, ValueError)


@pytest.mark.parametrize(
    "said, line",
    [("", "without a word"), ("One.\n  Two.", "One. Two"), ("word " * 100, " ".join(["word"] * 59) + " …")],
)
def test_what_an_error_says_is_one_line_of_whole_words(said, line):
    assert in_a_line(ValueError(said)) == line and len(line) <= 300
