import pytest

from mesascope.models.training.schedule import warmup_cosine


def test_warm_up_is_linear_and_never_starts_at_zero():
    rates = [warmup_cosine(step, 10**9, warmup=4) for step in range(6)]  # so long that the cosine stays at 1
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_the_cosine_falls_from_one_over_the_middle_to_its_final_value_and_stays_there():
    rates = [warmup_cosine(step, 100, warmup=0, final=0.1) for step in (0, 50, 100, 150)]
    assert rates == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert warmup_cosine(100, 100, warmup=0) == pytest.approx(0.01)


def test_without_warm_up_the_rate_never_rises():
    rates = [warmup_cosine(step, 50, warmup=0) for step in range(51)]
    assert rates == sorted(rates, reverse=True)
