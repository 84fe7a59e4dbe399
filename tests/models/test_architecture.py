import pytest

from mesascope.models import HookedRegressor, RegressorConfig
from mesascope.models.training.presets import preset_names, read_preset
from tests.models.families import FAMILIES

SMALL = dict(n_dims=3, n_points=6, n_layers=2, d_model=8)
SLOTS = SMALL | dict(layout="joint", read_in="slots", positions="none")


def config(**fields):
    return RegressorConfig.model_validate(SMALL | fields)


@pytest.mark.parametrize(
    "fields, d_head",
    [
        ({}, 8),
        ({"n_heads": 2}, 4),
        ({"n_heads": 3}, 2),
        ({"n_heads": 9}, 1),
        ({"n_heads": 2, "d_head": 7}, 7),
        ({"d_model": 8.0, "n_heads": "2"}, 4),  # as YAML may write them
    ],
)
def test_left_out_a_head_is_as_wide_as_its_share_of_the_model(fields, d_head):
    assert config(**fields).d_head == d_head


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({"attention": ("softmax",)}, "attention has 1 entries for n_layers=2; give one per layer"),
        ({"d_mlp": (4, 4, 4)}, "d_mlp has 3 entries for n_layers=2; give one per layer"),
        ({"d_mlp": -1}, "d_mlp=-1: expected widths >= 0"),
        ({"d_mlp": (4, -2)}, r"d_mlp=\(4, -2\): expected widths >= 0"),
        ({"positions": "sinusoidal"}, "positions='sinusoidal' with d_position=0; a sinusoidal code needs a width"),
        ({"d_position": 4}, "positions='learned' with d_position=4; .* other positions have none"),
        ({"positions": "sinusoidal", "d_position": 8}, "d_position=8 leaves no room in d_model=8; raise d_model"),
        (
            {"read_in": "slots", "positions": "none", "layout": "joint"},
            "layout='joint', n_dims=3 and d_position=0 needs d_model=4 and positions 'none' .*, got 8 and 'none'",
        ),
        (
            {"read_in": "slots", "layout": "joint", "d_model": 4},
            "needs d_model=4 and positions 'none' or 'sinusoidal', got 4 and 'learned'",
        ),
        (
            {"read_out": "slots", "d_out": 2},
            "reads d_out=2 y-slots, and layout='interleaved' with d_model=8 .* has 1; use read_out='affine'",
        ),
        (
            {"read_out": "slots", "d_out": 7, "layout": "joint", "positions": "sinusoidal", "d_position": 2},
            "reads d_out=7 y-slots, and layout='joint' with d_model=8 and d_position=2 has 6; use read_out='affine'",
        ),
        ({"mlp_activation": "relu"}, "mlp_activation"),
        ({"block": "lstm", "d_mlp": 8}, "block='lstm' has no d_mlp, damping or clip; leave them out"),
        ({"block": "lstm", "damping": 0.5}, "block='lstm' has no d_mlp, damping or clip; leave them out"),
        ({"block": "lstm", "clip": 5.0}, "block='lstm' has no d_mlp, damping or clip; leave them out"),
        (
            {"attention": "gradient_step", "n_heads": 2},
            "'gradient_step' is one head of width d_model=8, got n_heads=2 and d_head=4; leave both out",
        ),
        ({"attention": "gradient_step", "n_points": 1}, "divides by the points of context, and n_points=1 has none"),
        ({"tied": True, "attention": ("softmax", "linear")}, "tied layers share their weights: give one kind"),
        ({"tied": True, "d_mlp": (8, 0)}, "tied layers share their weights: .* one d_mlp for all"),
        ({"attention": "sofmax"}, "sofmax"),
        ({"clip": 0.0}, "clip\n.*greater than 0"),
        ({"damping": 0.0}, "damping\n.*greater than 0"),
        ({"d_head": 0}, "d_head\n.*greater than or equal to 1"),
        ({"n_layers": 0}, "n_layers\n.*greater than or equal to 1"),
        ({"n_layers": 1001}, "n_layers\n.*less than or equal to 1000"),
        ({"init_scale": float("nan")}, "init_scale\n.*finite"),
        ({"n_head": 3}, "n_head\n.*Extra inputs are not permitted"),
    ],
)
def test_an_impossible_config_says_what_was_got_and_what_to_do(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        config(**fields)


@pytest.mark.parametrize("missing", SMALL)
def test_a_size_that_is_missing_is_named(missing):
    with pytest.raises(ValueError, match=f"{missing}\n.*Field required"):
        RegressorConfig.model_validate({name: value for name, value in SMALL.items() if name != missing})


@pytest.mark.parametrize(
    "layout, d_position, d_model",
    [("joint", 0, 4), ("interleaved", 0, 3), ("separate", 4, 8), ("sequence", 2, 5), ("scratch", 4, 11)],
)
def test_slots_are_as_wide_as_token_and_code_together(layout, d_position, d_model):
    positions = "sinusoidal" if d_position else "none"
    fields = SLOTS | dict(layout=layout, positions=positions, d_position=d_position)
    cfg = RegressorConfig.model_validate(fields | dict(d_model=d_model))
    assert cfg.y_slot == d_model - d_position - 1
    with pytest.raises(ValueError, match=f"needs d_model={d_model} .*, got 9"):
        RegressorConfig.model_validate(fields | dict(d_model=9))


@pytest.mark.parametrize("layout, width", [("joint", 5), ("separate", 5), ("scratch", 8)])
def test_tokens_hold_as_many_ys_as_the_slots_that_are_read_and_one_where_a_map_reads(layout, width):
    fields = SLOTS | dict(layout=layout, d_model=width, read_out="slots", d_out=2)
    cfg = RegressorConfig.model_validate(fields)
    assert (cfg.d_y, cfg.d_token, cfg.y_slot) == (2, width, width - 2)
    affine = RegressorConfig.model_validate(fields | dict(read_out="affine", d_model=width - 1))
    assert (affine.d_y, affine.d_token, affine.y_slot) == (1, width - 1, width - 2)


def test_a_config_from_before_there_were_other_activations_has_gelu():
    old = config(d_mlp=4).model_dump()
    del old["mlp_activation"]
    assert RegressorConfig.model_validate(old) == config(d_mlp=4)


def test_one_kind_of_attention_or_width_stands_for_all_layers():
    cfg = config(attention="linear", d_mlp=5)
    assert cfg.attentions == ("linear", "linear") and cfg.mlp_widths == (5, 5)
    cfg = config(attention=("none", "softmax"), d_mlp=(5, 0))
    assert cfg.attentions == ("none", "softmax") and cfg.mlp_widths == (5, 0)


@pytest.mark.parametrize(
    "fields, final_norm, normalization_type",
    [
        ({}, True, "LN"),
        ({"layer_norm": False}, False, None),
        ({"read_out": "slots"}, False, "LN"),  # a slot would lose its meaning behind a norm
        ({"block": "lstm"}, False, None),
    ],
)
def test_a_final_norm_stands_before_an_affine_read_out_of_a_normed_transformer(fields, final_norm, normalization_type):
    cfg = config(**fields)
    assert (cfg.final_norm, cfg.normalization_type) == (final_norm, normalization_type)
    assert ("ln_final.hook_normalized" in HookedRegressor(cfg).hook_dict) == final_norm


@pytest.mark.parametrize("d_mlp, attn_only", [(0, True), (8, False), ((8, 0), False), ((0, 0), True)])
def test_a_model_without_any_mlp_is_attention_only(d_mlp, attn_only):
    assert config(d_mlp=d_mlp).attn_only == attn_only


@pytest.mark.parametrize("tied", [False, True])
def test_linear_self_attention_is_that_of_the_bundled_presets(tied):
    preset = read_preset("lsa-2").model
    cfg = RegressorConfig.linear_self_attention(10, 21, 2, tied=tied)
    assert cfg == preset.model_copy(update={"tied": tied})
    several = RegressorConfig.linear_self_attention(10, 21, 2, tied=tied, d_out=3)
    assert several == cfg.model_copy(update={"d_out": 3, "d_model": 13, "d_head": 13})


MODELS = {name: read_preset(name).model for name in preset_names()} | FAMILIES


@pytest.mark.parametrize("cfg", MODELS.values(), ids=MODELS.keys())
def test_a_config_survives_json(cfg):
    assert RegressorConfig.model_validate_json(cfg.model_dump_json()) == cfg
    assert RegressorConfig.model_validate(cfg.model_dump()) == cfg
