from mesascope.analyses import measure_similarity
from mesascope.models import Newton

from ..conftest import STEP_TASK
from .conftest import FEW, STEPS, quick


def test_a_single_output_has_no_course_over_layers_to_draw(newton_3):
    assert [figure.id for figure in newton_3.figures()] == [
        "similarity-errors",
        "similarity-errors-ceiling",
        "similarity-errors-heat",
        "similarity-weights",
        "similarity-weights-ceiling",
        "similarity-weights-heat",
        "similarity-weights-prefixes",
    ]


def test_a_model_with_layers_is_drawn_over_them(garg):
    result = measure_similarity(garg, n_prompts=40, n_fit=400, rivals=FEW)
    figures = {figure.id: figure for figure in result.figures()}
    assert list(figures) == [
        f"similarity-{by}{figure}"
        for by in ("errors", "weights")
        for figure in ("", "-ceiling", "-layers", "-heat", "-steps")
    ] + ["similarity-weights-prefixes", "similarity-convergence", "similarity-convergence-points"]
    heat = figures["similarity-errors-heat"].plot
    maps = [trace for trace in heat.data if trace.type == "heatmap"]
    assert len(maps) == 2  # Newton and GD
    assert all(len(trace.x) == len(trace.z[0]) + 1 and len(trace.z) == len(result.errors.layers) for trace in maps)
    assert list(maps[1].x[:2] if result.errors.courses[1].family == "GD" else maps[0].x[:2]) == [-1.0, 1.0]
    stars = [trace for trace in heat.data if trace.type == "scatter"]
    for trace, found in zip(stars, result.errors.courses, strict=True):
        assert trace.text == tuple(map(str, found.best_steps))
    fits = [trace for trace in figures["similarity-errors-steps"].plot.data if trace.mode == "lines"]
    assert {trace.name for trace in fits} == {"linear growth", "exponential growth"}
    for figure in figures.values():
        assert figure.title and figure.guide and len(figure.plot.data) > 0


def test_a_model_of_one_layer_that_reads_one_point_is_drawn_without_lines(predicts_y):
    result = quick(predicts_y, STEP_TASK, n_prompts=800, rivals=STEPS)
    figures = {figure.id: figure for figure in result.figures()}
    assert {"similarity-errors-layers", "similarity-errors-steps", "similarity-convergence"} <= set(figures)
    assert not {"similarity-weights-prefixes", "similarity-convergence-points"} & set(figures)
    assert {trace.mode for trace in figures["similarity-errors-steps"].plot.data} == {"markers"}


def test_every_score_says_what_it_cannot_do(newton_3):
    figures = {figure.id: figure for figure in newton_3.figures()}
    for by in ("errors", "weights"):
        for name in ("", "-heat"):
            assert "It cannot name the algorithm" in figures[f"similarity-{by}{name}"].guide
    assert "without the empty prefix" in figures["similarity-errors"].guide
    with_it = quick(Newton(3), empty_prefix=True).figures()[0]
    assert "with the empty prefix" in with_it.guide
