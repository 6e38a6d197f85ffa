"""Whole models whose attention a backend computes: the RTL in a simulator, a board, or the golden model."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from latte.golden.backend import Backend
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.jobs import Job
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.compared import ComparedAttention, Computed
from latte.golden.models.hook import Handler, replaced_attention
from latte.golden.register_image import RegisterImage

__all__ = ["BackendAttention", "check_build", "classify", "class_names", "encode_prompt", "generate"]


class BackendAttention(ComparedAttention):
    """Attention handler whose backend loads the keys of every forward pass anew, one batch of jobs per block.

    Parameters
    ----------
    checkpoint, thresholds, image, config, on_block
        As of `ComparedAttention`.
    backend
        Of a build of `config`.
    """

    def __init__(self, checkpoint: Checkpoint, thresholds: Thresholds, image: RegisterImage, config: AttentionConfig,
                 backend: Backend, on_block: Callable[[], None] = lambda: None) -> None:
        super().__init__(checkpoint, thresholds, image, config, on_block)
        self._backend = backend

    def compute(self, block: int, q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> Computed:
        """Carry out a job for each head.

        A query head that shares its keys with the one before, and their codes and groups with it, loads none.
        """
        entries, jobs, loaded = self.entries(block), [], 0
        for head in range(self.heads):
            shared = head % self.heads_per_key and entries[head].groups == entries[loaded].groups and all(
                np.array_equal(rows[head], rows[loaded]) for rows in (k, v))
            if not shared:
                loaded = head
            load = slice(0, 0) if shared else slice(None)
            jobs.append(Job(head, q[head], k[head, load], v[head, load], fresh=not shared, causal=causal))
        result = self._backend.run(dict(enumerate(entries)), jobs)
        return Computed(result.outputs, len(jobs), result.cycles)


def check_build(checkpoint: Checkpoint, thresholds: Thresholds, config: AttentionConfig, tokens: int) -> None:
    """Raise `LatteError` unless a build can hold a model's heads and sequences of `tokens`, with these thresholds."""
    name, model = config.name, checkpoint.name
    if config.engine == "dense":
        raise LatteError("the dense baseline has no thresholds; choose another build than --engine dense")
    if config.head_dim != checkpoint.head_dim:
        raise LatteError(f"{model} has heads of {checkpoint.head_dim} elements, but the build {name!r} is for "
                         f"{config.head_dim}; choose --head-dim {checkpoint.head_dim}")
    if config.heads < checkpoint.heads:
        raise LatteError(f"{model} has {checkpoint.heads} heads per block, but the register file of {name!r} holds "
                         f"{config.heads}; choose --heads {checkpoint.heads}")
    if config.estimate_bits != thresholds.estimate_bits:
        raise LatteError(f"the thresholds of {model} are for estimates of {thresholds.estimate_bits} bits, but the "
                         f"build {name!r} makes {config.estimate_bits}; choose --estimate-bits "
                         f"{thresholds.estimate_bits}")
    if tokens > config.max_seq_len:
        raise LatteError(f"a sequence of {tokens} tokens is longer than the {config.max_seq_len} that the build "
                         f"{name!r} holds; choose --max-seq-len {tokens}, or a shorter input")


def encode_prompt(checkpoint: Checkpoint, prompt: str, tokens: int) -> np.ndarray:
    """Return the tokens of a prompt, int64 [n], behind which `tokens` more have room in the model.

    Raises
    ------
    LatteError
        There is no tokenizer, the prompt is empty, or the sequence is longer than the model's.
    """
    if checkpoint.tokenizer is None:
        raise LatteError(f"{checkpoint.name}: the checkpoint holds no tokenizer; add its tokenizer files to the "
                         "model's folder")
    ids = np.array(checkpoint.tokenizer(prompt, verbose=False)["input_ids"], np.int64)
    if not prompt.strip() or not len(ids):
        raise LatteError("the prompt is empty; give a text with --prompt")
    if len(ids) + tokens > checkpoint.max_tokens:
        raise LatteError(f"{len(ids)} tokens of the prompt and {tokens} more are longer than the "
                         f"{checkpoint.max_tokens} that {checkpoint.name} knows; give a shorter --prompt or fewer "
                         "--tokens")
    return ids


def classify(checkpoint: Checkpoint, pixels: np.ndarray, handler: Handler) -> np.ndarray:
    """Return an image's probability of each class, float32 [classes].

    Parameters
    ----------
    pixels : float32 [3, size, size]
    handler
        Of every attention.
    """
    with torch.inference_mode(), replaced_attention(checkpoint.model, handler):
        [logits] = checkpoint.model(pixel_values=torch.from_numpy(pixels)[None]).logits
    return logits.softmax(-1).numpy()


def class_names(checkpoint: Checkpoint) -> dict[int, str]:
    """Return the names that the checkpoint gives its classes; transformers' placeholders are none."""
    names = checkpoint.model.config.id2label
    return {index: name for index, name in names.items() if name != f"LABEL_{index}"}


def generate(checkpoint: Checkpoint, prompt: np.ndarray, tokens: int, handler: Handler) -> Iterator[int]:
    """Yield the most probable next token, `tokens` times or until the model ends its text.

    The prompt is one forward pass; each further one has the last token alone, and the keys and values of all before
    it from the model's cache.

    Parameters
    ----------
    prompt : int64 [n]
    handler
        Of every attention.
    """
    model, ids, cache = checkpoint.model, torch.from_numpy(prompt)[None], None
    ends = model.generation_config.eos_token_id
    ends = set(ends) if isinstance(ends, list) else {ends}
    for _ in range(tokens):
        with torch.inference_mode(), replaced_attention(model, handler):
            result = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache = result.past_key_values
        token = int(result.logits[0, -1].argmax())
        yield token
        if token in ends:
            return
        ids = torch.tensor([[token]])
