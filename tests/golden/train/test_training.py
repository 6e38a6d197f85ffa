"""Training: gradient of the surrogate, resume, fit to the target, files."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers as tf

from latte.golden.attention import HeadParameters
from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import load_checkpoint, wrap_model
from latte.golden.models.exact import row_octaves
from latte.golden.models.hardware import HardwareAttention, PairCounter
from latte.golden.models.hook import float_attention
from latte.golden.pruned_mass import table_holds
from latte.golden.thresholds import ThresholdKind
from latte.golden.train.calibrate import fit_to_target, keep_all, smoothing, starting_thresholds, static_scales
from latte.golden.train.data import Windows, load_dataset
from latte.golden.train.distances import distances
from latte.golden.train.groups import choose_groups
from latte.golden.train.passes import LocalPasses, forward
from latte.golden.train.state import restore_trainer, save_trainer
from latte.golden.train.surrogate import SoftAttention
from latte.golden.train.threshold_files import load_thresholds, save_thresholds
from latte.golden.train.trainer import Recipe, Trainer, batch_indices

CONFIG = preset("small")


@pytest.fixture(scope="module")
def setup(vit_folder, image_folder):
    checkpoint = load_checkpoint(str(vit_folder))
    return checkpoint, load_dataset(checkpoint, image_folder)


def random_operands(seed, n=19):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 2, n, 64, generator=generator) * scale for scale in (0.7, 0.7, 1)]


GROUPS = {"group_elements": np.array([[[3, 60], [9, 1]]]), "group_cuts": np.array([[[0.1, -0.2], [0.0, 0.3]]])}


KINDS = {"relative": (2.0, 0.1), "mass": (2.2, 0.15), "absolute": (0.3, -0.05)}
"""By kind, a threshold that prunes some of the random operands' keys, and a length term."""


def learned(kind, **changes):
    """Return thresholds of one block of two heads, with gains."""
    tau, slope = KINDS[kind]
    thresholds = Thresholds.uniform(tau, 1, 2, kind=ThresholdKind(kind), gain=(1.2, 0.7))
    return dataclasses.replace(thresholds, tau_per_octave=np.array([[slope, 0.0]]), **changes)


@pytest.mark.parametrize("bits", [4, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [{}, GROUPS], ids=["one-group", "four-groups"])
@pytest.mark.parametrize("causal", [False, True])
def test_surrogate_at_low_temperature_is_the_hardware(causal, groups, kind, bits):
    q, k, v = (x[:1] for x in random_operands(1))
    thresholds = learned(kind, estimate_bits=bits, **groups)
    if kind != "mass":
        # A quarter step off the codes, so that rounding to a code moves no key across the threshold.
        limit = CONFIG.replace(estimate_bits=bits).qk_max
        scales = [x.abs().amax((-2, -1))[0].double().numpy() / limit for x in (q, k)]
        step = 4.0 ** (8 - bits) * scales[0] * scales[1] / 8
        tau = (np.floor(thresholds.tau / step) + (0.25 if kind == "absolute" else -0.25)) * step
        thresholds = dataclasses.replace(thresholds, tau=tau, tau_per_octave=None)
    soft = SoftAttention(thresholds, CONFIG)
    soft.temperature = 1e-5
    counter = PairCounter(1, 2)
    exact = HardwareAttention(thresholds, CONFIG, counter)(0, q, k, v, causal)
    with torch.no_grad():
        got = soft(0, q, k, v, causal)
        pruned = soft.take_pruned().item()
    near = torch.zeros(got.shape[:-1], dtype=torch.bool)
    if kind == "mass":  # rows with a key so near the threshold that the rounding of weights decides
        handler = HardwareAttention(thresholds, CONFIG)
        operands, codes, step, _ = handler.operands(0, q, k, v)
        apart = distances(thresholds.kind, handler.trace(operands, codes, causal)[1], step)
        cut = torch.from_numpy(thresholds.tau_by_octave[0])[:, row_octaves(*apart.shape[-2:], causal)]
        near = ((apart - cut[..., None]).abs() < 0.01).any(-1)
    assert near.float().mean() < 0.4
    assert (got - exact)[~near].abs().max() < 0.01 * exact.abs().max()
    slack = near.sum().item() / counter.visible.sum() + 1e-6
    assert pruned == pytest.approx(1 - counter.kept.sum() / counter.visible.sum(), abs=slack)
    assert 0.02 < pruned < 0.99


@pytest.mark.parametrize("name", ["tau", "denominator_gain", "mean_share"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [{}, GROUPS], ids=["one-group", "four-groups"])
@pytest.mark.parametrize("causal", [False, True])
def test_gradient_of_the_surrogate_is_the_difference_quotient(causal, name, kind, groups):
    thresholds = learned(kind, **groups)
    soft = SoftAttention(thresholds, CONFIG).double()
    operands = [x.double() for x in random_operands(2)]
    target = torch.randn(2, 2, 19, 64, generator=torch.Generator().manual_seed(3)).double()

    def loss():
        output = soft(0, *operands, causal)
        return ((output - target) ** 2).mean() + soft.take_pruned()

    parameter = getattr(soft, name)
    loss().backward()
    gradient = parameter.grad[0, 1].item()
    with torch.no_grad():
        parameter[0, 1] += 1e-3
        above = loss().item()
        parameter[0, 1] -= 2e-3
        below = loss().item()
    assert gradient == pytest.approx((above - below) / 2e-3, rel=1e-3, abs=1e-8)
    assert gradient != 0


@pytest.mark.parametrize("groups", [{}, GROUPS], ids=["one-group", "four-groups"])
@pytest.mark.parametrize("causal", [False, True])
def test_gradient_of_the_values_is_the_difference_quotient(causal, groups):
    step = 0.03
    scales = {name: np.full((1, 2), step) for name in ("q_scale", "k_scale", "v_scale")}
    thresholds = learned("mass", **scales, **groups)
    soft = SoftAttention(thresholds, CONFIG).double()
    q, k, v = (x.double() for x in random_operands(7))
    v = ((v / step).round() * step).requires_grad_()
    target = torch.randn(2, 2, 19, 64, generator=torch.Generator().manual_seed(8)).double()
    (soft(0, q, k, v, causal) * target).sum().backward()
    with torch.no_grad():
        for place in ((0, 1, 0, 5), (1, 0, 18, 63), (0, 0, 9, 2)):
            moved = v.clone()
            moved[place] += step
            difference = ((soft(0, q, k, moved, causal) - soft(0, q, k, v, causal)) * target).sum().item()
            assert v.grad[place].item() == pytest.approx(difference / step, rel=1e-6)


def test_groups_are_the_best_split_of_keys_by_definition(setup):
    """One element, brute force: every element's two groups, the pruned keys' part of the output, the least error."""
    checkpoint, data = setup
    operands, thresholds, passes = [], Thresholds.uniform(0.4, 2, 2), LocalPasses(checkpoint, data, 5)

    def record(block, q, k, v, causal):
        operands.append([x.double().numpy() for x in (q, k, v)])
        return float_attention(q, k, v, causal)

    with torch.inference_mode():
        forward(checkpoint, record, data.batch(np.arange(12))[0])
    chosen = choose_groups(passes, thresholds, 2)
    for block, (q, k, v) in enumerate(operands):
        for head in range(2):
            cut = k[:, head].mean((0, 1))
            errors, energy = np.zeros((3, 64)), np.zeros((3, 1))
            for item in range(12):
                chunk = item // 5
                score = q[item, head] @ k[item, head].T / 8
                share = np.exp(score) / np.exp(score).sum(1, keepdims=True)
                energy[chunk] += ((share @ v[item, head]) ** 2).sum()
                share[score > score.max(1, keepdims=True) - 0.4] = 0
                for element in range(64):
                    above = k[item, head, :, element] > cut[element]
                    restored = sum(share[:, side].sum(1)[:, None] * v[item, head, side].mean(0)
                                   for side in (above, ~above) if side.any())
                    errors[chunk, element] += ((restored - share @ v[item, head]) ** 2).sum()
            errors = (errors / energy).sum(0)
            best = chosen["group_elements"][block, head, 0]
            assert errors[best] <= errors.min() * (1 + 1e-4)
            assert chosen["group_cuts"][block, head, 0] == pytest.approx(cut[best], rel=1e-5)
    assert choose_groups(passes, thresholds, 0) == {}


def test_resumed_run_equals_the_uninterrupted_one(setup, tmp_path):
    checkpoint, data = setup
    recipe = Recipe(0.6, steps=6, batch=4)
    start = Thresholds.uniform(1.0, 2, 2, gain=(1.0, 1.0))
    straight = Trainer(checkpoint, data, start, recipe, CONFIG)
    for _ in range(6):
        straight.advance()
    first = Trainer(checkpoint, data, start, recipe, CONFIG)
    for _ in range(3):
        first.advance()
    save_trainer(tmp_path / "run.npz", first)
    second = Trainer(checkpoint, data, start, recipe, CONFIG)
    restore_trainer(tmp_path / "run.npz", second)
    for _ in range(3):
        second.advance()
    assert second.history == straight.history
    for field in ("tau", "denominator_gain", "mean_gain"):
        np.testing.assert_array_equal(getattr(second.attention.thresholds(), field),
                                      getattr(straight.attention.thresholds(), field))
    other = Trainer(checkpoint, data, start, dataclasses.replace(recipe, target=0.7), CONFIG)
    with pytest.raises(LatteError, match="target"):
        restore_trainer(tmp_path / "run.npz", other)
    stranger = dataclasses.replace(checkpoint, name="stranger")
    with pytest.raises(LatteError, match="not of stranger"):
        restore_trainer(tmp_path / "run.npz", Trainer(stranger, data, start, recipe, CONFIG))
    (tmp_path / "run.npz").write_bytes((tmp_path / "run.npz").read_bytes()[:100])
    with pytest.raises(LatteError, match="not a readable checkpoint"):
        restore_trainer(tmp_path / "run.npz", other)


@pytest.mark.parametrize("bits", [4, 2])
def test_static_scales_are_quantiles_of_the_largest_elements(setup, bits):
    checkpoint, data = setup
    operands = []

    def record(block, q, k, v, causal):
        operands.append((q, k, v))
        return float_attention(q, k, v, causal)

    with torch.inference_mode():
        forward(checkpoint, record, data.batch(np.arange(12))[0])
    config = CONFIG.replace(estimate_bits=bits)
    plain = Thresholds.uniform(1.5, 2, 2)
    whole, half = (static_scales(LocalPasses(checkpoint, data, 5), plain, config, quantile) for quantile in (1.0, 0.5))
    limit = {4: 119, 2: 95}[bits]
    for block, (q, k, v) in enumerate(operands):
        for name, x, code in (("q_scale", q, limit), ("k_scale", k, limit), ("v_scale", v, 127)):
            largest = x.abs().amax((2, 3)).numpy() / code
            np.testing.assert_allclose(whole[name][block], largest.max(0), rtol=1e-5)
            np.testing.assert_allclose(half[name][block], np.median(largest, 0), rtol=1e-5)


def test_static_scales_of_a_head_whose_scores_hardly_spread_are_held_by_the_tables():
    class Small:
        def run(self, collector):
            return {"q_scale": np.array([[[0.1], [40.0]]]), "k_scale": np.array([[[0.2], [40.0]]]),
                    "v_scale": np.ones((1, 2, 1))}

    scales = static_scales(Small(), Thresholds.uniform(1.5, 1, 2), CONFIG)
    assert scales["k_scale"][0, 0] == np.float32(0.2 / 119) and scales["q_scale"][0, 1] == np.float32(40 / 119)
    assert scales["q_scale"][0, 0] > 0.1 / 119
    for exp_frac_bits in (8, CONFIG.exp_frac_bits):
        config = CONFIG.replace(exp_frac_bits=exp_frac_bits)
        for h in range(2):
            code = HeadParameters.encode(1.0, scales["q_scale"][0, h], scales["k_scale"][0, h], config).scale_code
            assert table_holds(code, config)


def test_every_item_once_per_epoch():
    seen = np.concatenate([batch_indices(step, 3, 12, 4) for step in range(3)])
    assert sorted(seen) == list(range(12))
    assert len(batch_indices(0, 1, 3, 16)) == 3


def test_smoothing_serves_scales_hardware_and_surrogate(setup):
    checkpoint, data = setup
    passes = LocalPasses(checkpoint, data, 5)
    alone = smoothing(passes)
    assert alone["key_offset"].shape == alone["channel_scale"].shape == (2, 2, 64)
    thresholds = keep_all(passes, CONFIG)
    plain = keep_all(passes, CONFIG, smooth=False)
    assert plain.key_offset is None and (thresholds.key_offset == alone["key_offset"]).all()
    assert (thresholds.q_scale * thresholds.k_scale < plain.q_scale * plain.k_scale).all()
    q, k, v = random_operands(7)
    for handler in (HardwareAttention, SoftAttention):
        outputs = [handler(dataclasses.replace(chosen, q_scale=None, k_scale=None, v_scale=None), CONFIG)(
            0, q, k, v, False) for chosen in (thresholds, plain)]
        assert not torch.equal(*outputs)
        torch.testing.assert_close(*outputs, atol=0.05, rtol=0)


def test_query_heads_that_share_keys_share_their_smoothing():
    """The offset is the middle of each channel of K; the factor looks at all queries that meet the key."""
    torch.manual_seed(5)
    model = tf.LlamaForCausalLM(tf.LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64))
    checkpoint = wrap_model(model.eval(), "shared")
    passes = LocalPasses(checkpoint, Windows(np.arange(120).reshape(4, 30) % 50), 1)
    operands = []

    def record(block, q, k, v, causal):
        operands.append((q, k))
        return float_attention(q, k, v, causal)

    with torch.inference_mode():
        forward(checkpoint, record, passes.data.batch(np.arange(4))[0])
    found = smoothing(passes)
    for block, (q, k) in enumerate(operands):
        middle = (k.amax((0, 2)) + k.amin((0, 2))).double().numpy() / 2
        reach = (k.amax((0, 2)) - k.amin((0, 2))).double().numpy() / 2
        largest = q.abs().amax((0, 2)).double().numpy().reshape(2, 2, -1).max(1).repeat(2, axis=0)
        np.testing.assert_allclose(found["key_offset"][block], middle, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["channel_scale"][block], np.sqrt(reach / largest), rtol=1e-4)
        assert (found["channel_scale"][block][0] == found["channel_scale"][block][1]).all()


def test_windows_of_a_context_turn_keys_and_change_no_output(shared_keys_folder):
    """A rotary model sees distances alone, so windows at other places have its logits, but other elements of K."""
    checkpoint = load_checkpoint(str(shared_keys_folder))
    tokens = np.arange(80).reshape(5, 16) % 8
    keys, logits = {}, {}
    for context in (None, 55):
        data = Windows(tokens, context)
        places = data.positions(np.arange(5))
        assert places is None if context is None else places[:, 0].tolist() == [0, 16, 32, 0, 16]
        keys[context] = []

        def record(block, q, k, v, causal, seen=keys[context]):
            seen.append(k)
            return float_attention(q, k, v, causal)

        with torch.inference_mode():
            logits[context] = forward(checkpoint, record, tokens, places)
        found = keep_all(LocalPasses(checkpoint, data, 1), CONFIG)
        ranges = torch.stack(keys[context]).amax((1, 3)), torch.stack(keys[context]).amin((1, 3))
        offset = (ranges[0] + ranges[1]).double().numpy() / 2
        np.testing.assert_allclose(found.key_offset, offset, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(*logits.values(), atol=1e-4, rtol=1e-4)
    moved = (keys[None][0] - keys[55][0]).abs().amax((1, 2, 3)) > 0.1
    assert moved.tolist() == [False, True, True, False, True]


@pytest.mark.parametrize("kind", list(ThresholdKind))
@pytest.mark.parametrize("mode", ["global", "head"])
def test_fit_meets_the_target(setup, mode, kind):
    checkpoint, data = setup
    passes = LocalPasses(checkpoint, data)
    thresholds = starting_thresholds(passes, keep_all(passes, CONFIG, kind=kind), 0.7, CONFIG, mode=mode)
    thresholds = fit_to_target(passes, thresholds, 0.7, CONFIG, rounds=3)
    counter = PairCounter(2, 2)
    with torch.inference_mode():
        forward(checkpoint, HardwareAttention(thresholds, CONFIG, counter), data.batch(np.arange(12))[0])
    assert 1 - counter.kept.sum() / counter.visible.sum() == pytest.approx(0.7, abs=0.03)


def test_threshold_files(setup, tmp_path):
    checkpoint, data = setup
    thresholds = Thresholds.uniform(1.5, 2, 2, gain=(1.0, 0.5))
    thresholds = dataclasses.replace(thresholds, group_elements=np.full((2, 2, 1), 9),
                                     group_cuts=np.full((2, 2, 1), 0.5))
    passes = LocalPasses(checkpoint, data)
    thresholds = dataclasses.replace(thresholds, **smoothing(passes), **static_scales(passes, thresholds, CONFIG),
                                     kind=ThresholdKind.MASS, tau_per_octave=np.full((2, 2), 0.25), estimate_bits=3)
    path = tmp_path / "t.npz"
    save_thresholds(path, thresholds, checkpoint.name, {"seed": 1})
    loaded = load_thresholds(path, *checkpoint.shape)
    for field in dataclasses.fields(Thresholds):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(thresholds, field.name))
    for change, says in (({"group_cuts": None}, "belong together"),
                         ({"group_cuts": np.full((2, 2, 1), np.nan)}, "key groups are damaged"),
                         ({"group_elements": np.full((2, 2, 1), -1)}, "key groups are damaged"),
                         ({"group_elements": np.full((2, 2, 2), 1)}, "key groups are damaged"),
                         ({"group_elements": np.full((2, 2, 1), 64)}, "another head_dim than the 64"),
                         ({"key_offset": np.zeros((2, 2, 32)), "channel_scale": np.ones((2, 2, 32))}, "than the 64"),
                         ({"key_offset": None}, "belong together"),
                         ({"key_offset": np.zeros((2, 2, 63))}, "smoothing is damaged"),
                         ({"channel_scale": np.zeros((2, 2, 64))}, "smoothing is damaged"),
                         ({"tau": np.full((2, 2), -0.5)}, "negative where its kind, mass"),
                         ({"tau": np.full((2, 2), np.nan)}, "is NaN"), ({"mean_gain": None}, "belong together"),
                         ({"mean_gain": np.full((2, 2), 1.5)}, "gains are damaged"),
                         ({"tau_per_octave": np.full((2, 2), np.inf)}, "tau_per_octave is damaged"),
                         ({"k_scale": np.zeros((2, 2))}, "k_scale is damaged"), ({"estimate_bits": 5}, "5 bits"),
                         ({"kind": "sideways"}, "must be relative, mass, absolute, not 'sideways'")):
        save_thresholds(tmp_path / "bad.npz", dataclasses.replace(thresholds, **change), checkpoint.name, {})
        with pytest.raises(LatteError, match=says):
            load_thresholds(tmp_path / "bad.npz", *checkpoint.shape)
    with pytest.raises(LatteError, match="not of gpt2"):
        load_thresholds(path, "gpt2", 2, 2, 64)
    with pytest.raises(LatteError, match="no such thresholds"):
        load_thresholds(tmp_path / "missing.npz", *checkpoint.shape)


@pytest.mark.parametrize("target", [0, 1, 1.5, -0.1])
def test_impossible_target(target):
    with pytest.raises(LatteError, match="between 0 and 1"):
        Recipe(target)
