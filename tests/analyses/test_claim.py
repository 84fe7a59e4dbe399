import inspect
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any, ClassVar

import plotly.graph_objects as go
import plotly.io
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesascope import analyses
from mesascope.analyses import Claim, Figure, Result
from mesascope.analyses.claim import N_SHOWN, finite, fixed


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


class Many(Found):
    """A result that is no dataclass of its own, with a name and words that are markup to a page."""

    title: ClassVar[str] = "<b>Many</b>"

    @property
    def claims(self) -> tuple[Claim, ...]:
        return tuple(replace(claim(f"number {index}"), text=f"a < b & c {index}") for index in range(N_SHOWN + 2))

    @property
    def warnings(self) -> tuple[str, ...]:
        return ("<script>alert(1)</script>",)


@dataclass(frozen=True)
class Numbers(Found):
    """A result with more numbers than a line holds."""

    numbers: tuple[float, ...] = tuple(range(10_000))

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (replace(claim("long"), text="word\n" * 1000),)


def test_a_result_is_a_line_with_its_headline_and_verdict():
    assert repr(Found()) == str(Found()) == "<Found: A sentence. [decodable]>"
    assert repr(Numbers()).startswith("<Numbers: word word") and repr(Numbers()).endswith(" …>")
    assert len(repr(Numbers())) <= 302 and "\n" not in repr(Numbers())


def test_a_result_without_claims_has_a_line_too():
    assert repr(Result()) == "<Result: its claims raise NotImplementedError>"
    assert repr(Silent()) == "<Silent: no claim>"


class Silent(Result):
    @property
    def claims(self) -> tuple[Claim, ...]:
        return ()


def test_a_result_that_speaks_for_itself_is_heard():
    @dataclass(frozen=True)
    class Own(Found):
        number: int = 3

        def __repr__(self) -> str:
            return "my own"

    @dataclass(frozen=True)
    class Child(Own):
        other: int = 4

    assert repr(Own()) == repr(Child()) == "my own"


@pytest.mark.parametrize("name", [n for n in analyses.__all__ if inspect.isclass(getattr(analyses, n))])
def test_no_result_of_an_analysis_says_all_its_numbers(name):
    found = getattr(analyses, name)
    if issubclass(found, Result):
        assert found.__repr__ is Result.__repr__


def test_a_notebook_shows_the_claims_as_a_table_of_escaped_words():
    page = Many()._repr_html_()
    assert page.count("<tr>") == N_SHOWN + 1 and "2 more in .claims" in page
    assert "a &lt; b &amp; c 0" in page and "&lt;b&gt;Many" in page and "&lt;script&gt;" in page
    assert "<script" not in page and "<b>" not in page
    assert page.count(">0.5<") == N_SHOWN and "0.25 to inf" in page
    assert "more in" not in Found()._repr_html_() and ">nan<" in Found()._repr_html_()


def test_a_figure_is_a_line_and_a_notebook_draws_its_plot(monkeypatch):
    plot = go.Figure(go.Scatter(x=list(range(1000)), y=list(range(1000))))
    drawn = Figure("spectral-response", "Response", "How to read it.", plot)
    assert repr(drawn) == "<Figure spectral-response: Response>"
    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype")
    bundle = drawn._repr_mimebundle_()
    shown = bundle["application/vnd.plotly.v1+json"]
    assert shown["data"][0]["type"] == "scatter"
    assert shown["config"]["showSendToCloud"] is False and shown["config"]["plotlyServerURL"] == ""


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
