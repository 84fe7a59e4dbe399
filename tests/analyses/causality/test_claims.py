from dataclasses import replace

from mesascope.analyses.causality.claims import model_claim

from .test_cause import cause


def test_the_first_clause_of_the_models_claim_is_of_the_variable_of_its_number_and_verdict():
    y = replace(cause(), variable="y", site="query", layer=1)
    w, at_query = cause(alone=0.03, as_read=0.03), replace(cause(alone=0.02, as_read=0.02), site="query")
    claim = model_claim([y, w, at_query])
    assert (claim.value, claim.verdict) == (0.03, "w decodable but not used")
    first, second = claim.text.split("; ")
    where = "all tokens, layer 2 and query, layer 2"
    assert first == f"Of what readouts find, w is decodable but not used ({where})"
    assert second == "y is used (query, layer 1)."
