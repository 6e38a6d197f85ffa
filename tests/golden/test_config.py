"""The configuration: derived widths, presets, and refusal of the impossible."""

import dataclasses
import json

import pytest

from latte.golden.config import PRESETS, AttentionConfig, preset
from latte.golden.errors import LatteError


def test_widths_at_head_dim_64():
    config = preset("small")
    assert (config.est_bits, config.cross_bits, config.score_bits, config.out_bits) == (14, 15, 22, 16)
    assert config.tau_keep_all == 16383
    assert config.sum_bits == 22 and config.acc_bits == 30


@pytest.mark.parametrize("head_dim", [4, 16, 48, 64, 128, 256])
def test_widths_hold_the_extreme_sums(head_dim):
    config = AttentionConfig(head_dim=head_dim, dim_lanes=head_dim, cross_lanes=2, value_lanes=2)
    largest_est = 64 * head_dim
    assert largest_est < 1 << (config.est_bits - 1)
    # Slice split: |high| <= 8 meets an unsigned low half of 15, twice.
    largest_cross = 2 * 8 * 15 * head_dim
    assert largest_cross < 1 << (config.cross_bits - 1)
    assert 256 * largest_est + 16 * largest_cross < 1 << (config.score_bits - 1)
    # All ones keeps every key: no two estimates differ by as much.
    assert config.tau_keep_all > largest_est + 56 * head_dim


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_frozen(name):
    config = preset(name)
    assert config.name == name and config.head_dim == 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.head_dim = 32
    assert AttentionConfig(**config.to_dict()) == config
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()


@pytest.mark.parametrize(("changes", "words"), [
    ({"head_dim": 0}, "head_dim"), ({"head_dim": 63}, "head_dim"), ({"head_dim": 2.0}, "head_dim"),
    ({"heads": True}, "heads"), ({"max_seq_len": 65537}, "max_seq_len"), ({"weight_bits": 3}, "weight_bits"),
    ({"max_seq_len": 65536, "weight_bits": 16}, "max_seq_len = 65536 with weight_bits = 16"),
    ({"split": "middle"}, "split"), ({"engine": "sparse"}, "engine"), ({"pe_structure": "magic"}, "pe_structure"),
    ({"dim_lanes": 24}, "dim_lanes"), ({"dim_lanes": 8}, "pe_structure"), ({"cross_lanes": 66}, "cross_lanes"),
    ({"bus_bytes": 3}, "bus_bytes"), ({"value_lanes": 23}, "value_lanes"),
    ({"normalizer_lanes": 3}, "normalizer_lanes"),
    ({"query_rows": 6}, "query_rows"), ({"key_lanes": 3}, "key_lanes"), ({"engine": "dense"}, "dense"),
    ({"lanes": 3}, "lanes"),
    ({"threshold_kinds": ()}, "threshold_kinds"), ({"threshold_kinds": "mass"}, "threshold_kinds"),
    ({"threshold_kinds": ("mass", "mass")}, "threshold_kinds"), ({"threshold_kinds": ("sum",)}, "threshold_kinds"),
    ({"key_groups": 3}, "key_groups"), ({"key_groups": 16}, "key_groups"), ({"key_groups": True}, "key_groups"),
    ({"key_groups": 2, "bus_bytes": 6, "head_dim": 48, "cross_lanes": 24, "value_lanes": 24, "dim_lanes": 48},
     "key_groups = 2 .*power of two"),
])
def test_impossible_configurations_name_the_field(changes, words):
    with pytest.raises(LatteError, match=words) as error:
        preset("small", **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [
    {"query_lanes": 2}, {"key_lanes": 2}, {"normalizer_lanes": 2}, {"kv_banks": 2}, {"pe_structure": "dsp"},
    {"dim_lanes": 64}, {"cross_lanes": 6}, {"value_lanes": 64}])
def test_serial_engine_takes_one_thing_at_a_time(changes):
    with pytest.raises(LatteError, match=next(iter(changes))):
        preset("tiny", **changes)


@pytest.mark.parametrize("name", PRESETS)
def test_lanes_follow_head_dim(name):
    """Every head_dim is a build, of as many cycles per key and survivor (the serial engine: of the same lanes)."""
    usual = preset(name)
    for head_dim in range(4, 257, 2):
        config = preset(name, head_dim=head_dim)
        assert config.head_dim == head_dim
        if config.engine == "serial":
            assert config.dim_lanes <= usual.dim_lanes and config.value_lanes == usual.value_lanes
            if head_dim % 16 == 0:
                assert config.dim_lanes == usual.dim_lanes
        else:
            assert config.dim_slices == usual.dim_slices
            assert config.cross_slices <= usual.cross_slices
            assert config.value_slices <= usual.value_slices
        if head_dim % 32 == 0:
            assert (config.bus_bytes, config.normalizer_lanes) == (usual.bus_bytes, usual.normalizer_lanes)
        assert config == usual.for_head_dim(head_dim)
    assert preset(name, head_dim=64) == usual


def test_given_lanes_do_not_follow():
    config = preset("small", head_dim=128, value_lanes=22, bus_bytes=2)
    assert (config.cross_lanes, config.value_lanes, config.bus_bytes) == (64, 22, 2)
    assert preset("small", head_dim=128, value_lanes=22).bus_bytes == 2
    assert preset("base", head_dim=80, normalizer_lanes=2).normalizer_lanes == 2
    for changes, words in (({"head_dim": 128, "value_lanes": 130}, "value_lanes"),
                           ({"head_dim": 80, "bus_bytes": 32}, "bus_bytes"), ({"head_dim": 80, "bus_bytes": 0}, "bus"),
                           ({"head_dim": 80, "dim_lanes": "x"}, "dim_lanes"), ({"head_dim": 258}, "head_dim"),
                           ({"head_dim": 33}, "even"), ({"head_dim": 32.0}, "head_dim"), ({"head_dim": None}, "head"),
                           ({"head_dim": 128, "dim_lanes": 64}, "pe_structure")):
        with pytest.raises(LatteError, match=words):
            preset("small", **changes)


def test_unknown_preset_lists_the_known():
    with pytest.raises(LatteError, match="tiny, small, small_lm, base, base_lm"):
        preset("huge")


def test_dense_baseline_has_the_same_throughput():
    config = preset("base")
    assert config.dense().pairs_per_cycle == config.pairs_per_cycle
    assert config.dense().row_bits == config.score_bits and config.row_bits == config.est_bits


def test_kinds_have_one_order_and_decide_the_codes_of_an_entry():
    config = preset("small", threshold_kinds=["absolute", "relative"], key_groups=8)
    assert config.threshold_kinds == ("relative", "absolute") and config == preset(
        "small", threshold_kinds=("relative", "absolute"), key_groups=8)
    assert hash(config) == hash(AttentionConfig(**config.to_dict()))
    assert list(config.code_octaves) == list(range(1, 11)) and config.group_bits == 3
    assert list(config.replace(max_seq_len=1023).code_octaves) == list(range(1, 10))
    plain = config.lean()
    assert not plain.code_octaves and plain.group_bits == plain.replace(key_groups=1).group_bits == 0
    assert plain.name == "small-lean" and config.dense().threshold_kinds == plain.threshold_kinds == ("relative",)
    with pytest.raises(LatteError, match="prunes nothing"):
        plain.dense().replace(key_groups=1)


def test_dense_baseline_keeps_its_halves():
    assert preset("small", estimate_bits=3).dense() == preset("small").dense()
    with pytest.raises(LatteError, match="4-bit halves"):
        preset("small").dense().replace(estimate_bits=3)
    assert preset("small", split="slice").dense() == preset("small").dense()
    with pytest.raises(LatteError, match="signed halves: leave split at 'balanced'"):
        preset("small").dense().replace(split="slice")
