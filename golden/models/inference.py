"""Whole models whose attention a backend computes: the RTL in a simulator, a board, or the golden model.

Q, K and V are smoothed and quantised as `HardwareAttention` does it, and output codes dequantised as there; between the
two the codes come from a `latte.golden.backend.Backend`, and the model goes on with them. The exact arithmetic in torch
computes the same operands beside it, and every code is compared.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import torch

from latte.golden.attention import HeadParameters
from latte.golden.backend import Backend, BackendFailure
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.jobs import Job
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.exact import HeadCodes
from latte.golden.models.hardware import HardwareAttention, PairCounter
from latte.golden.models.hook import Handler, replaced_attention
from latte.golden.register_image import RegisterImage

__all__ = ["BackendAttention", "BlockFigures", "check_build", "classify", "class_names", "encode_prompt", "generate"]


@dataclasses.dataclass
class BlockFigures:
    """What the attentions of one block came to.

    Parameters
    ----------
    cycles
        Clock cycles of the core.
    jobs
    outputs
        Attention outputs, one per head and forward pass.
    differing
        Those in which a bit differs from torch's.
    """

    cycles: int = 0
    jobs: int = 0
    outputs: int = 0
    differing: int = 0


class BackendAttention(HardwareAttention):
    """Attention handler whose output codes a backend computes, one batch of jobs per block and forward pass.

    Parameters
    ----------
    checkpoint
    thresholds
    image
        Their registers, the same for every sequence.
    config
        Of the backend's build.
    backend
    on_block
        Called after each batch, for progress bars.

    Attributes
    ----------
    pairs : PairCounter
        Visible and kept pairs.
    blocks : list of BlockFigures
    differences : list of str
        One line for each output that differs.
    """

    def __init__(self, checkpoint: Checkpoint, thresholds: Thresholds, image: RegisterImage, config: AttentionConfig,
                 backend: Backend, on_block: Callable[[], None] = lambda: None) -> None:
        self.pairs = PairCounter(checkpoint.blocks, checkpoint.heads)
        super().__init__(thresholds, config, self.pairs)
        self.blocks = [BlockFigures() for _ in range(checkpoint.blocks)]
        self.differences: list[str] = []
        self._heads, self._heads_per_key = checkpoint.heads, checkpoint.heads_per_key
        self._entries = [entry.parameters for entry in image.heads]
        self._backend = backend
        self._on_block = on_block

    @property
    def total(self) -> BlockFigures:
        """Sums over the blocks."""
        return BlockFigures(*(sum(column) for column in zip(*map(dataclasses.astuple, self.blocks), strict=True)))

    def pruned(self, block: int | None = None) -> float:
        """Return the share of visible pairs that were pruned, of one block or of all."""
        chosen = slice(None) if block is None else block
        return 1 - float(self.pairs.kept[chosen].sum() / max(1, self.pairs.visible[chosen].sum()))

    def output_codes(self, block: int, operands: tuple[torch.Tensor, torch.Tensor, torch.Tensor], codes: HeadCodes,
                     step: torch.Tensor, causal: bool) -> torch.Tensor:
        """Return the backend's codes; count and name those outputs that are not torch's."""
        exact = super().output_codes(block, operands, codes, step, causal)
        if len(exact) != 1:
            raise LatteError(f"a backend takes one sequence at a time, not {len(exact)}")
        entries = self._entries[block * self._heads:(block + 1) * self._heads]
        q, k, v = (rows[0].cpu().numpy().astype(np.int8) for rows in operands)
        jobs = self._jobs(entries, q, k, v, causal)
        result = self._backend.run(dict(enumerate(entries)), jobs)
        if len(result.outputs) != len(jobs):
            raise BackendFailure(f"block {block}: {len(result.outputs)} of {len(jobs)} jobs came to an output")
        produced = torch.from_numpy(np.stack(result.outputs)).to(exact)
        different = (produced != exact[0]).flatten(1).sum(1).tolist()
        figures = self.blocks[block]
        figures.cycles += result.cycles
        figures.jobs += len(jobs)
        figures.outputs += len(different)
        figures.differing += sum(count > 0 for count in different)
        self.differences += [f"block {block}, head {head}: {count} of {exact[0, head].numel()} output codes of "
                             f"{exact.shape[-2]} queries and {operands[1].shape[-2]} keys differ"
                             for head, count in enumerate(different) if count]
        self._on_block()
        return produced[None]

    def _jobs(self, entries: list[HeadParameters], q: np.ndarray, k: np.ndarray, v: np.ndarray,
              causal: bool) -> list[Job]:
        """Return a job for each head of q [heads, m, d], k and v [heads, n, d].

        A query head that shares its keys with the one before, and their codes and groups with it, loads none.
        """
        jobs, loaded = [], 0
        for head in range(self._heads):
            shared = head % self._heads_per_key and entries[head].groups == entries[loaded].groups and all(
                np.array_equal(rows[head], rows[loaded]) for rows in (k, v))
            if not shared:
                loaded = head
            load = slice(0, 0) if shared else slice(None)
            jobs.append(Job(head, q[head], k[head, load], v[head, load], fresh=not shared, causal=causal))
        return jobs


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
