from dataclasses import dataclass
from typing import ClassVar

import pytest

from mesascope.analyses.claim import Claim, Evidence, Result
from mesascope.analyses.report.verdict import SILENT, sentences


@dataclass(frozen=True)
class Said(Result):
    name: ClassVar[str] = "said"
    title: ClassVar[str] = "What is said?"
    question: ClassVar[str] = "What is said?"

    text: str
    verdict: str = "so"

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (Claim(f"said.{self.text}", self.text, None, None, None, self.verdict),)


class Predicts(Said):
    evidence = "predictions"


class Weighs(Said):
    evidence = "weights"


class Causes(Said):
    evidence = "causes"


def texts(*results: Result) -> list[str]:
    return [sentence["text"] for sentence in sentences(results)]


def test_each_kind_of_evidence_has_a_sentence_in_order():
    said = [Causes("Heads copy."), Predicts("It is GD; so much."), Weighs("It holds GD.")]
    assert texts(*said) == ["It is GD; so much.", "It holds GD.", "Heads copy."]
    assert [sentence["claims"] for sentence in sentences(said)] == [
        ["said.It is GD; so much."],
        ["said.It holds GD."],
        ["said.Heads copy."],
    ]


def test_the_first_speaks_in_full_and_the_others_in_their_first_clause():
    said = (Weighs("The weights: GD++; of the norm."), Weighs("The x: corrected; R² is 1."), Weighs("GD++ it is; so."))
    assert texts(*said)[1] == "The weights: GD++; of the norm; the x: corrected; GD++ it is."


def test_a_verdict_speaks_before_doubts():
    assert texts(Weighs("A?", "undetermined"), Weighs("B."))[1] == "B; a?."


def test_what_was_not_measured_is_said():
    assert texts() == [f"{SILENT[kind]}." for kind in ("predictions", "weights", "causes")]


@pytest.mark.parametrize("kind", [Said, Weighs])
def test_what_is_undetermined_is_named_last(kind):
    assert texts(kind("So.", "undetermined"))[2] == f"{SILENT['causes']}; undetermined remains: what is said."


def test_a_result_without_headlines_says_nothing():
    class Silent(Predicts):
        @property
        def headlines(self) -> tuple[Claim, ...]:
            return ()

    assert texts(Silent("Hm.")) == texts()


def test_results_of_no_kind_do_not_open_a_report():
    evidence: Evidence | None = Said("So.").evidence
    assert evidence is None and texts(Said("So.")) == texts()
