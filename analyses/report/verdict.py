"""The sentences that open a report: by predictions, by weights, by what follows when parts are changed."""

from collections.abc import Iterable
from typing import Any, get_args

from mesascope.analyses.claim import Claim, Evidence, Result

SILENT: dict[Evidence, str] = {
    "predictions": "Whose predictions the model's are like was not measured",
    "weights": "Whether the weights hold an algorithm was not measured",
    "causes": "What inside the model causes its predictions was not measured",
}
"""What is said where no result speaks."""


def sentences(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One sentence for each kind of evidence, with the claims that it is made of.

    The first result of a kind that found something speaks in full, the others in their first clause. The last sentence
    also names the sections whose own verdict is "undetermined".
    """
    results = list(results)
    said = [_sentence(kind, [r for r in results if r.evidence == kind]) for kind in get_args(Evidence)]
    unsure = [_continued(r.title.rstrip("?")) for r in results if r.headlines and _undetermined(r.headlines[0])]
    if unsure:
        said[-1]["text"] += f"; undetermined remains: {', '.join(unsure)}"
    return [sentence | {"text": f"{sentence['text']}."} for sentence in said]


def headline_sentences(result: Result) -> list[dict[str, Any]]:
    """For a report of one result: each of its headlines, led by what follows from it."""
    return [{"lead": _capital(claim.verdict), "text": claim.text, "claims": [claim.id]} for claim in result.headlines]


def _capital(verdict: str) -> str:
    return verdict[:1].upper() + verdict[1:]


def _sentence(kind: Evidence, results: list[Result]) -> dict[str, Any]:
    # A verdict before doubts: sorting is stable, so the registry's order holds among equals.
    claims = sorted((r.headlines[0] for r in results if r.headlines), key=_undetermined)
    if not claims:
        return {"evidence": kind, "text": SILENT[kind], "claims": []}
    first, *others = (claim.text.rstrip(".") for claim in claims)
    text = "; ".join([first, *(_continued(text.split("; ")[0]) for text in others)])
    return {"evidence": kind, "text": text, "claims": [claim.id for claim in claims]}


def _continued(sentence: str) -> str:
    """A sentence as it goes on after a semicolon; names such as GD++ keep their capital."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def _undetermined(claim: Claim) -> bool:
    return "undetermined" in claim.verdict
