"""What a model asks of its attention is followed, or refused by name: masks, keywords, caches, model types."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tf = pytest.importorskip("transformers")

from latte.golden.config import preset  # noqa: E402
from latte.golden.errors import LatteError  # noqa: E402
from latte.golden.filters import TopK  # noqa: E402
from latte.golden.model_thresholds import Thresholds  # noqa: E402
from latte.golden.models.checkpoint import wrap_model  # noqa: E402
from latte.golden.models.exact_product import ExactProductAttention  # noqa: E402
from latte.golden.models.filtered import FilterAttention, TopThetaAttention  # noqa: E402
from latte.golden.models.hardware import HardwareAttention, PairCounter  # noqa: E402
from latte.golden.models.hook import attention_modules, float_attention, replaced_attention  # noqa: E402
from latte.golden.thresholds import ThresholdKind  # noqa: E402
from latte.golden.top_theta import ThetaTables  # noqa: E402

TOKENS = 8
SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
         "num_attention_heads": 2, "max_position_embeddings": 64}
IDS = torch.arange(2 * TOKENS).view(2, TOKENS)
PADDED = torch.ones(2, TOKENS, dtype=torch.long)
PADDED[1, :3] = 0


def sharp(model):
    """Scale a model's weights so that its attention is far from uniform."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8 if weight.dim() > 1 else 1)
    model.set_attn_implementation("eager")
    return model.eval()


def llama(**changes):
    torch.manual_seed(1)
    return sharp(tf.LlamaForCausalLM(tf.LlamaConfig(**SIZES | {"num_key_value_heads": 1} | changes)))


def gpt2(**changes):
    torch.manual_seed(2)
    return sharp(tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=64,
                                                  bos_token_id=0, eos_token_id=0, **changes)))


def hooked(model):
    return replaced_attention(model, lambda block, q, k, v, causal: float_attention(q, k, v, causal))


def logits(model, hook, ids=IDS, **inputs):
    """Return the logits of a forward pass, with or without the hook."""
    with torch.inference_mode():
        if not hook:
            return model(ids, use_cache=False, **inputs).logits
        with hooked(model):
            return model(ids, use_cache=False, **inputs).logits


def triangle(hidden, dtype=torch.float32):
    return torch.zeros(1, 1, TOKENS, TOKENS, dtype=dtype).masked_fill(~torch.ones(TOKENS, TOKENS).tril().bool(), hidden)


FOLLOWED = {
    "no mask": {},
    "mask of ones": {"attention_mask": torch.ones(2, TOKENS, dtype=torch.long)},
    "bool mask of ones": {"attention_mask": torch.ones(2, TOKENS, dtype=torch.bool)},
    "causal additive": {"attention_mask": triangle(-torch.inf)},
    "causal additive, least finite": {"attention_mask": triangle(torch.finfo(torch.float32).min)},
    "every key": {"attention_mask": torch.zeros(2, 1, TOKENS, TOKENS)},
    "positions from 5": {"position_ids": torch.arange(5, 5 + TOKENS)[None]},
    "hidden states": {"output_hidden_states": True},
}


@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("kind", FOLLOWED)
def test_followed_exactly(make, kind):
    model = make()
    torch.testing.assert_close(logits(model, True, **FOLLOWED[kind]), logits(model, False, **FOLLOWED[kind]),
                               atol=1e-4, rtol=1e-4)
    assert model.config._attn_implementation == "eager"


def window(size):
    distance = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)
    return ((distance >= 0) & (distance < size))[None, None]


REFUSED = {
    "left padding": ({"attention_mask": PADDED}, "padding"),
    "right padding": ({"attention_mask": PADDED.flip(1)}, "padding"),
    "bool padding": ({"attention_mask": PADDED.bool()}, "padding"),
    "window as a bool mask": ({"attention_mask": window(3)}, "a window"),
    "window as an additive mask": ({"attention_mask": torch.where(window(3), 0.0, -torch.inf)}, "a window"),
    "one pair hidden": ({"attention_mask": triangle(-torch.inf).index_fill(3, torch.tensor([2]), -torch.inf)}, "hides"),
    "bias": ({"attention_mask": triangle(-torch.inf) + 0.5}, "bias"),
    "soft hiding": ({"attention_mask": triangle(-1e4)}, "bias"),
    "integers": ({"attention_mask": torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.long)}, "int64"),
    "three dimensions": ({"attention_mask": torch.ones(2, TOKENS, TOKENS)}, "shape"),
    "other size": ({"attention_mask": triangle(-torch.inf)[..., :5]}, "shape"),
    "packed": ({"position_ids": torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])}, "packed"),
    "packed by lengths": ({"cu_seq_lens_q": torch.tensor([0, 4, 8])}, "cu_seq_lens_q"),
    "soft cap": ({"softcap": 20.0}, "softcap = 20.0"),
    "sinks": ({"s_aux": torch.ones(2)}, "s_aux"),
    "window keyword": ({"sliding_window": 3}, "sliding_window = 3"),
    "head mask": ({"head_mask": torch.ones(2)}, "head_mask"),
    "position bias": ({"position_bias": torch.ones(1, 2, TOKENS, TOKENS)}, "position_bias"),
    "weights wanted": ({"output_attentions": True}, "output_attentions"),
    "unheard of": ({"temperature_per_head": 2}, "temperature_per_head"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(kind):
    inputs, words = REFUSED[kind]
    model = llama()
    with pytest.raises(LatteError, match=words) as error:
        logits(model, True, **inputs)
    assert "\n" not in str(error.value)
    assert model.config._attn_implementation == "eager"


def test_keywords_without_effect_are_no_reason_to_refuse():
    model = llama()
    for quiet in ({"softcap": None}, {"sliding_window": TOKENS}, {"s_aux": None}, {"output_attentions": False}):
        torch.testing.assert_close(logits(model, True, **quiet), logits(model, False), atol=1e-4, rtol=1e-4)


def test_a_window_shorter_than_the_sequence_is_refused_and_a_longer_one_followed():
    sizes = SIZES | {"num_key_value_heads": 2}
    model = sharp(tf.MistralForCausalLM(tf.MistralConfig(**sizes, sliding_window=TOKENS - 1)))
    with pytest.raises(LatteError, match="sliding_window = 7"):
        logits(model, True)
    model = sharp(tf.MistralForCausalLM(tf.MistralConfig(**sizes, sliding_window=TOKENS)))
    torch.testing.assert_close(logits(model, True), logits(model, False), atol=1e-4, rtol=1e-4)


def test_dropout_in_training_is_refused():
    model = llama(attention_dropout=0.1)
    model.train()
    with pytest.raises(LatteError, match="dropout = 0.1"), hooked(model):
        model(IDS, use_cache=False)
    torch.testing.assert_close(logits(model.eval(), True), logits(model, False), atol=1e-4, rtol=1e-4)


def test_a_configuration_that_wants_the_weights_is_refused():
    model = llama()
    model.config.output_attentions = True
    with pytest.raises(LatteError, match="output_attentions"):
        logits(model, True)


@pytest.mark.parametrize("changes", [{"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True}])
def test_the_scale_of_the_scores_is_followed(changes):
    model = gpt2(**changes)
    torch.testing.assert_close(logits(model, True), logits(model, False), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("step", [1, 3])
def test_decoding_with_a_cache(make, step):
    """The queries of a step are the last positions of all keys so far."""
    model = make()
    whole = logits(model, False)
    with torch.inference_mode(), hooked(model):
        past = model(IDS[:, :2], use_cache=True).past_key_values
        for start in range(2, TOKENS, step):
            got = model(IDS[:, start:start + step], past_key_values=past, use_cache=True).logits
            torch.testing.assert_close(got, whole[:, start:start + step], atol=1e-4, rtol=1e-4)


CONFIG = preset("small", head_dim=16, dim_lanes=16, cross_lanes=16, value_lanes=16)
STEPS = dict.fromkeys(("q_scale", "k_scale", "v_scale"), np.full((1, 3), 0.05))
GAINS = dataclasses.replace(Thresholds.uniform(2.0, 1, 3, gain=(1.0, 1.0)), **STEPS)
TABLES = ThetaTables(np.full((1, 3, 21), 0.4), np.full((1, 3), 0.5), np.full((1, 3, 21), 0.7))
HANDLERS = {
    "hardware": lambda: HardwareAttention(GAINS, CONFIG),
    "mass": lambda: HardwareAttention(dataclasses.replace(GAINS, kind=ThresholdKind.MASS), CONFIG),
    "exact-product": lambda: ExactProductAttention(GAINS, CONFIG),
    "top-k": lambda: FilterAttention(TopK(0.4), CONFIG, PairCounter(1, 3)),
    "top-theta": lambda: TopThetaAttention(TABLES, "exact", CONFIG, PairCounter(1, 3)),
}


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("kind", HANDLERS)
def test_fewer_queries_than_keys_on_hardware_arithmetic(kind, rows):
    """The last rows alone give the bits that they have in the whole head."""
    torch.manual_seed(3)
    q, k, v = torch.randn(3, 1, 3, 21, 16) * 2
    q[..., -1, 0] = 12  # dynamic scales are those of the whole head
    handler = HANDLERS[kind]()
    whole = handler(0, q, k, v, True)
    assert torch.equal(handler(0, q[..., -rows:, :], k, v, True), whole[..., -rows:, :])


def test_float_attention_of_fewer_queries_than_keys():
    q, k, v = torch.randn(3, 1, 2, 9, 16, dtype=torch.float64)
    whole = float_attention(q, k, v, True)
    torch.testing.assert_close(float_attention(q[..., 5:, :], k, v, True), whole[..., 5:, :])
    assert not torch.allclose(float_attention(q[..., 5:, :], k, v, False), whole[..., 5:, :])


def test_model_types():
    with pytest.raises(LatteError, match="'mistral' is not supported; supported are deit, gpt2, llama, vit"):
        wrap_model(tf.MistralForCausalLM(tf.MistralConfig(**SIZES, num_key_value_heads=2)), "m")
    with pytest.raises(LatteError, match="is_causal = False"):
        wrap_model(llama(head_dim=64, is_causal=False), "bidirectional")
    with pytest.raises(LatteError, match="cross-attention"):
        attention_modules(gpt2(add_cross_attention=True))
    with pytest.raises(LatteError, match="cross-attention"):
        attention_modules(tf.T5ForConditionalGeneration(tf.T5Config(vocab_size=20, d_model=8, d_ff=8, num_layers=1)))
    with pytest.raises(LatteError, match="no attention"):
        attention_modules(tf.MobileNetV1Model(tf.MobileNetV1Config(depth_multiplier=0.25)))
    assert wrap_model(llama(head_dim=64), "llama").causal


def test_a_bidirectional_language_model_is_followed_by_its_mask():
    model = llama(is_causal=False)
    torch.testing.assert_close(logits(model, True), logits(model, False), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(model, False), logits(llama(), False), atol=1e-2)
