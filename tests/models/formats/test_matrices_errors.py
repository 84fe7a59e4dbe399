"""Every way in which a file of matrices can be wrong ends in one line, and none in running its code."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mesascope.models import MesascopeError, load
from mesascope.models.formats import checkpoints_of
from tests.models.formats.test_matrices import D, factors, haiku, products

SQUARE = np.eye(D)


def refused(path, message):
    with pytest.raises(MesascopeError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value) and str(path).split("@")[0] in str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.npz"


class Hostile:
    """A pickle that creates a file when it is loaded carelessly."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["W_Q", "convention", "odd"])
def test_an_array_of_objects_is_refused_and_not_run(path, tmp_path, name):
    marker = tmp_path / "it-ran"
    np.savez(path, **{**factors(), name: np.array([Hostile(marker)], dtype=object)})
    refused(path, "cannot be read .it holds objects or is a pickle, and loading those could run code.; expected arrays")
    assert not marker.exists()
    np.load(path, allow_pickle=True)[name]  # the control: carelessness would have run it
    assert marker.exists()


def test_a_bare_pickle_is_refused_and_not_run(path, tmp_path):
    path.write_bytes(pickle.dumps(Hostile(tmp_path / "it-ran")))
    refused(path, "cannot be read")
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused_wherever_it_ends(path, kept):
    np.savez(path, **factors())
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    refused(path, "cannot be read .*; expected arrays of numbers from numpy.savez")


def test_damaged_bytes_are_noticed(path):
    np.savez(path, **factors())
    content = bytearray(path.read_bytes())
    content[300] ^= 0xFF
    path.write_bytes(bytes(content))
    refused(path, "cannot be read .*CRC")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_what_is_no_npz_is_refused(path, content):
    path.write_bytes(content)
    refused(path, "cannot be read")


def test_a_single_array_is_no_npz(path):
    with path.open("wb") as file:
        np.save(file, SQUARE)
    refused(path, "cannot be read")


def test_a_member_that_is_no_array_is_refused(path):
    np.savez(path, **factors())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("notes.txt", "hello")
    refused(path, "'notes.txt' is no array; expected real numbers")


def test_an_array_that_claims_more_than_it_holds_is_refused(path):
    np.savez(path, W_KQ=SQUARE, W_PV=SQUARE)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content.replace(b"(4, 4), }   ", b"(9999, 4), }"))
    refused(path, "cannot be read")


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("name", ["W_Q", "P"])
def test_numbers_that_are_not_finite_in_float32_are_refused_by_name(path, name, number):
    arrays = factors()
    arrays[name][1, 0, 2, 3] = number
    np.savez(path, **arrays)
    refused(path, f"{name} holds NaN or infinite numbers; save finite ones")


@pytest.mark.parametrize(
    "array, message",
    [
        (SQUARE.astype(complex), "'W_Q' has dtype complex128; expected real numbers"),
        (np.array([b"x"]), "'W_Q' has dtype .*; expected real numbers"),
        (np.array(["x"]), "'W_Q' is text; expected real numbers"),
        (np.zeros(4), r"W_Q has shape \(4,\); expected \[n_layers, n_heads, rows, cols\]"),
        (np.zeros((1, 1, 1, 4, 4)), r"W_Q has shape \(1, 1, 1, 4, 4\); expected"),
    ],
    ids=["complex", "bytes", "text", "1-D", "5-D"],
)
def test_an_array_of_another_kind_is_refused(path, array, message):
    np.savez(path, **{**factors(1, 1), "W_Q": array})
    refused(path, message)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({}, "holds no arrays; expected the arrays W_Q, W_K, W_V, P, or W_KQ, W_PV, or allparam, or haiku's"),
        ({"fc.weight": SQUARE, "fc.bias": SQUARE}, "holds fc.bias, fc.weight; expected the arrays W_Q"),
        ({"W_Q": SQUARE, "W_K": SQUARE, "P": SQUARE}, "lacks W_V; expected W_Q, W_K, W_V, P and nothing else"),
        ({"W_KQ": SQUARE}, "lacks W_PV; expected W_KQ, W_PV and nothing else"),
        ({**factors(), "b_Q": SQUARE}, "holds an unknown 'b_Q'; did you mean 'W_Q'"),
        ({"a\nb": SQUARE}, "holds a b; expected the arrays"),
        ({**factors(), "n_point": 3}, "holds an unknown 'n_point'; did you mean 'n_points'"),
        ({**factors(), **products(factors())}, "holds an unknown 'W_KQ'"),
    ],
)
def test_other_names_than_a_schemas_are_refused(path, arrays, message):
    np.savez(path, **arrays)
    refused(path, message)


@pytest.mark.parametrize(
    "change",
    [
        {"W_Q": np.zeros((2, 2, D, D + 1))},
        {"W_K": np.zeros((2, 2, D - 1, D))},
        {"W_V": np.zeros((2, 1, D, D))},
        {"P": np.zeros((3, 2, D, D))},
        {"P": np.zeros((2, 2, D + 1, D))},
    ],
    ids=lambda change: str({name: array.shape for name, array in change.items()}),
)
def test_shapes_that_do_not_fit_together_are_named(path, change):
    ((name, array),) = change.items()
    np.savez(path, **{**factors(), **change})
    shape = ", ".join(map(str, array.shape))
    refused(path, rf"{name} \({shape}\).* do not fit together; expected in the convention 'columns' W_Q and W_K d_key")


@pytest.mark.parametrize("shapes", [((1, 1, D, D), (1, 2, D, D)), ((D, D), (D - 1, D - 1)), ((D, 2), (D, 2))], ids=str)
def test_products_that_do_not_fit_together_are_named(path, shapes):
    np.savez(path, W_KQ=np.zeros(shapes[0]), W_PV=np.zeros(shapes[1]))
    refused(path, r"W_KQ \(.*\), W_PV \(.*\) do not fit together; expected both D × D")


@pytest.mark.parametrize("shape", [(N := 3, N), (1, 1, 2, N, N + 1), (1, 1, 3, N, N), (1, 2, N, N)], ids=str)
def test_an_allparam_of_another_shape_is_refused(path, shape):
    np.savez(path, allparam=np.zeros(shape), n_points=8)
    refused(path, r"allparam \(.*\) do not fit together; expected \[n_layers, n_heads, 2, n_dims, n_dims\]")


def test_allparam_needs_the_number_of_points(path):
    np.savez(path, allparam=np.zeros((1, 1, 2, 3, 3)))
    refused(path, "lacks n_points .context and query., by which allparam's attention is divided; add it")


def test_rows_without_a_word_are_not_taken_for_columns(path):
    rows = {name: w.swapaxes(-1, -2) for name, w in factors(d_key=2, d_value=2).items()}
    np.savez(path, **rows)
    refused(
        path, r"W_Q \(2, 2, 4, 2\) would be heads wider .*; say which with convention='columns' or convention='rows'"
    )
    np.savez(path, **rows, convention="rows")
    assert load(path).model.cfg.d_model == D
    np.savez(path, **rows, convention="columns")
    assert load(path).model.cfg.d_model == 2


@pytest.mark.parametrize(
    "arrays",
    [{"allparam": np.zeros((1, 1, 2, 3, 3)), "n_points": 8}, haiku(factors(1, 1))],
    ids=["allparam", "haiku"],
)
def test_a_convention_where_there_is_no_choice_is_refused(path, arrays):
    np.savez(path, **arrays, convention="columns")
    refused(path, "leave `convention` out")


def test_a_third_axis_without_a_word_is_refused(path):
    np.savez(path, **{name: w[0] for name, w in factors(1, 3).items()})
    refused(path, r"W_Q \(3, 4, 4\) is 3-D: add n_layers=3 or n_heads=3 to say what its first axis is")


@pytest.mark.parametrize(
    "said, message",
    [
        ({"n_dims": 4}, r"n_dims=4 but the arrays have 3 \(D = n_dims\+1 = 4\)"),
        ({"n_layers": 3}, "n_layers=3 but the arrays have 2"),
        ({"n_heads": 1}, "n_heads=1 but the arrays have 2"),
        ({"tied": True}, "tied, but there are 2 layers; save one, and n_layers for how often it applies"),
        ({"n_points": 1}, "n_points: Input should be greater than or equal to 2 .got 1."),
        ({"n_points": 2.5}, "n_points: Input should be a valid integer"),
        ({"w_std": -1.0}, "w_std: Input should be greater than"),
        ({"w_std": np.nan}, "w_std: "),
        ({"convention": "diagonals"}, "convention: Input should be 'columns' or 'rows'"),
        ({"n_points": np.array([3, 4])}, r"n_points has shape \(2,\); expected a single number or word"),
        ({"damping": 0.0}, "damping: Input should be greater than 0"),
        ({"clip": 0.0}, "clip: Input should be greater than 0"),
        ({"half_width": 0.0}, "half_width: Input should be greater than 0"),
        ({"n_layers": 10**9, "tied": True}, "n_layers: Input should be less than or equal to"),
    ],
    ids=str,
)
def test_an_impossible_setting_is_refused_by_name(path, said, message):
    np.savez(path, **factors(), **said)
    refused(path, message)


@pytest.mark.parametrize("shape", [(0, 1, D, D), (1, 0, D, D), (1, 1, 0, 0), (1, 1, 1, 1)], ids=str)
def test_empty_matrices_are_refused(path, shape):
    np.savez(path, W_KQ=np.zeros(shape), W_PV=np.zeros(shape))
    refused(path, "expected at least one of each, and D >= 2")


HAIKU = haiku(factors(2, 1))
LAYER = "transformer/~trans_block/layer_1"


@pytest.mark.parametrize(
    "change, message",
    [
        ({f"{LAYER}/query/b": np.zeros(D)}, r"layer_1/query/b \(4,\) is no part of plain linear self-attention"),
        ({"transformer/mlp/linear/w": SQUARE}, "transformer/mlp/linear/w .* without biases, norms, MLPs or embeddings"),
        ({"transformer/linear/w": SQUARE}, "transformer/linear/w .* is no part"),
        ({"transformer/lnorm1/layer_norm/scale": np.ones(D)}, "is no part of plain linear"),
        ({f"{LAYER}/query/w": None}, "layer_1 lacks query/w; save all four"),
        ({f"{LAYER}/value/w": np.zeros((D, D + 1))}, r"value \(4, 5\).* do not fit together; expected query and key"),
        ({f"{LAYER}/query/w": np.zeros((D, 2 * D))}, "do not fit together"),
        ({**haiku(factors(1, 1), "transformer/multi_head_attention")}, "expected one multi_head_attention, or"),
        ({**haiku(factors(1, 1), "transformer/~trans_block/layer_3")}, "expected one multi_head_attention, or layer_0"),
        ({"n_heads": 3}, "do not fit together; .* with n_heads=3"),
        ({**haiku(factors(1, 1, 2, 2), LAYER), "n_heads": 1}, "do not fit together; expected the same widths in every"),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_haiku_parameters_of_another_network_are_refused(path, change, message):
    np.savez(path, **{name: array for name, array in {**HAIKU, **change}.items() if array is not None})
    refused(path, message)


def test_heads_side_by_side_are_not_guessed(path):
    np.savez(path, **haiku(factors(2, 2)))
    refused(path, r"layer_0/query/w \(4, 8\) is not square, so it may hold several heads; add n_heads")


def test_matrices_keep_no_steps(path):
    np.savez(path, **factors())
    assert checkpoints_of(path) == []
    refused(f"{path}@step-3", "keeps no steps")
