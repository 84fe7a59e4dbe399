import math

import pytest
import torch
import torch.nn.functional as F

from mesascope.models import MesascopeError, Prompts
from mesascope.models.learners import PrefixMatching
from tests.models.learners.prompts import prompts_of


def of_tokens(tokens, n_tokens):
    tokens = torch.tensor(tokens)
    return Prompts(F.one_hot(tokens[:, :-1], n_tokens).float(), tokens[:, 1:].float())


def test_it_counts_the_followers_of_earlier_occurrences():
    probabilities = PrefixMatching(smoothing=0.5).predict(of_tokens([[0, 1, 0, 2, 0, 1, 0, 2]], 4)).exp()
    expected = [
        [1 / 4] * 4,  # 0 and 1 are new
        [1 / 4] * 4,
        [0.5 / 3, 1.5 / 3, 0.5 / 3, 0.5 / 3],  # 0 was followed by 1
        [1 / 4] * 4,  # 2 is new
        [0.5 / 4, 1.5 / 4, 1.5 / 4, 0.5 / 4],  # by 1 and by 2
        [1.5 / 3, 0.5 / 3, 0.5 / 3, 0.5 / 3],  # 1 was followed by 0
        [0.5 / 5, 2.5 / 5, 1.5 / 5, 0.5 / 5],  # by 1, 2 and 1
    ]
    torch.testing.assert_close(probabilities[0], torch.tensor(expected, dtype=torch.float64))


def test_renaming_the_tokens_renames_the_predictions():
    tokens = torch.randint(6, (5, 20), generator=torch.Generator().manual_seed(0))
    names = torch.tensor([3, 1, 5, 0, 2, 4])
    plain = PrefixMatching().predict(of_tokens(tokens.tolist(), 6))
    renamed = PrefixMatching().predict(of_tokens(names[tokens].tolist(), 6))
    torch.testing.assert_close(renamed[..., names], plain)
    torch.testing.assert_close(plain.exp().sum(-1), torch.ones(5, 19, dtype=torch.float64))


def test_a_prediction_does_not_see_what_comes_later():
    early = PrefixMatching().predict(of_tokens([[0, 1, 0, 1, 0, 2, 1, 1]], 3))
    other = PrefixMatching().predict(of_tokens([[0, 1, 0, 1, 2, 0, 0, 2]], 3))
    assert torch.equal(early[:, :4], other[:, :4])
    assert not torch.equal(early[:, 4:], other[:, 4:])


def test_little_smoothing_makes_it_certain_and_much_makes_it_uniform():
    prompts = of_tokens([[0, 1, 0, 1]], 3)
    assert PrefixMatching(smoothing=1e-9).predict(prompts)[0, 2, 1] == pytest.approx(0, abs=1e-8)
    torch.testing.assert_close(
        PrefixMatching(smoothing=1e9).predict(prompts), torch.full((1, 3, 3), -math.log(3), dtype=torch.float64)
    )


def test_points_that_are_not_tokens_are_refused():
    with pytest.raises(MesascopeError, match="xs that are not one-hot"):
        PrefixMatching().predict(prompts_of())
    with pytest.raises(MesascopeError, match="xs that are not one-hot"):
        PrefixMatching().predict(Prompts(torch.ones(1, 2, 3), torch.zeros(1, 2)))


def test_a_longer_context_chooses_between_followers():
    # 1 was followed by 2 after 0 and by 3 after 4; now it comes after 0
    prompts = of_tokens([[0, 1, 2, 4, 1, 3, 0, 1, 2]], 5)
    one, two = (PrefixMatching(n_context=n).predict(prompts)[0, 7].exp() for n in (1, 2))
    assert one[2] == pytest.approx(one[3]) and two[2] > 0.9 and two[3] < 0.05
    torch.testing.assert_close(two.sum(), torch.tensor(1.0).double())


def test_without_a_longer_match_the_shorter_one_counts():
    prompts = of_tokens([[0, 1, 2, 3, 1, 0]], 4)
    torch.testing.assert_close(PrefixMatching(n_context=3).predict(prompts), PrefixMatching().predict(prompts))


@pytest.mark.parametrize("fields", [{"smoothing": 0.0}, {"n_context": 0}], ids=repr)
def test_no_smoothing_and_no_context_are_refused(fields):
    with pytest.raises(ValueError, match="expected n_context >= 1 and smoothing > 0"):
        PrefixMatching(**fields)
    assert PrefixMatching().label == "prefix matching of 1 token +0.01"
