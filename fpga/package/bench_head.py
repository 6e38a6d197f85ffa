"""What a package's bench runs: operands, register entry and expected output as a C header."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.memory.build import MemoryBuild
from latte.golden.memory.cache import CacheMemory
from latte.golden.memory.jobs import CacheJob, JobKind, carry_out
from latte.golden.thresholds import ThresholdKind
from latte.golden.vectors import VectorSet, embedded_vectors
from latte.rtl.axi.registers import output_element_bytes
from latte.rtl.common.entry_words import pack_entry
from latte.sim.program import Program

__all__ = ["BenchHead", "bench_head", "cache_bench_head"]

_RANDOM_ROWS = 64
_CACHE_ROWS, _TOKENS = 80, 12
"""Of a sequence in memory, and those of them that are tokens behind a prompt."""
_CACHE_HEADS = 2
"""Query heads that share the keys."""
_COLUMNS = 32


@dataclasses.dataclass(frozen=True)
class BenchHead:
    """What a bench runs.

    Parameters
    ----------
    config
    text
        What it is.
    entry
        Of the register file.
    numbers
        Macros, without ``HEAD_``.
    q, k, v
        int8, in the order in which they lie in memory.
    output
        What the golden model makes of them.
    """

    config: AttentionConfig
    text: str
    entry: HeadParameters
    numbers: dict[str, int]
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    output: np.ndarray

    def header(self) -> str:
        """Return the text of ``head.h``."""
        words = [word["data"] for word in pack_entry(0, self.entry, self.config)]
        kind = f"int{8 * output_element_bytes(self.config)}_t"
        parts = [f"/* The first {self.numbers['ROWS']} rows of {self.text}, and what the golden model makes of them; "
                 "generated. */", "#ifndef HEAD_H", "#define HEAD_H", "", "#include <stdint.h>", "",
                 *(f"#define HEAD_{name} {value}u" for name, value in self.numbers.items()), "",
                 *_array("uint16_t", "head_entry", words)]
        for name in "qkv":
            parts += _array("int8_t", f"head_{name}", getattr(self, name).reshape(-1).tolist())
        parts += _array(kind, "head_output", self.output.reshape(-1).tolist())
        return "\n".join([*parts, "#endif", ""])


def bench_head(config: AttentionConfig) -> BenchHead:
    """Return one job.

    An embedded head, as far as its rows fit; random activations, if the build's rows have another length.
    """
    vectors, text = _vectors(config, config.max_seq_len, heads=1)
    program = Program.of_vectors(vectors, config)
    (_, trace), = program.expected()
    job = program.jobs[0]
    return BenchHead(config, text, program.parameters[0], {"ROWS": len(job.q), "CAUSAL": int(job.causal)}, job.q, job.k,
                     job.v, trace.output)


def cache_bench_head(build: MemoryBuild) -> BenchHead:
    """Return a sequence: a prompt, and tokens behind it, of heads that share the first one's keys and its entry.

    Rows are those of `bench_head`, of a head that is causal.
    """
    config, heads = build.core, min(_CACHE_HEADS, build.core.heads)
    vectors, text = _vectors(config, min(_CACHE_ROWS, config.max_seq_len), heads=heads, causal=True)
    q, k, v = vectors.q, vectors.k[0], vectors.v[0]
    memory, entry, rows = CacheMemory(build, -(-len(k) // build.page_rows)), vectors.parameters(0, config), len(k)
    sequence, prompt = memory.open(), max(1, rows - _TOKENS)
    memory.reserve(sequence, rows)
    outputs = []
    for part in (slice(0, prompt), *(slice(n, n + 1) for n in range(prompt, rows))):
        kind = JobKind.DECODE if part.start else JobKind.PREFILL
        outcome = carry_out(CacheJob(kind, sequence, 0, q[:, part], k[part], v[part]), memory,
                            dict.fromkeys(range(heads), entry))
        assert outcome.status is None, outcome.status
        outputs.append(outcome.outputs(heads))
    numbers = {"ROWS": rows, "PROMPT": prompt, "HEADS": heads}
    return BenchHead(config, text, entry, numbers, q.transpose(1, 0, 2), k, v,
                     np.concatenate(outputs, axis=1).transpose(1, 0, 2))


def _vectors(config: AttentionConfig, rows: int, *, heads: int, causal: bool = False) -> tuple[VectorSet, str]:
    """Return heads, and what they are."""
    vectors = next(found for found in embedded_vectors() if found.causal or not causal).select(list(range(heads)))
    text = f"block {vectors.block[0]}, head {vectors.head[0]} of {vectors.model}"
    if config.head_dim != vectors.q.shape[2]:
        vectors, text = _random_heads(config, heads, causal), "random activations"
    cut = {name: getattr(vectors, name)[:, :rows] for name in "qkv"}
    kind = "relative" if "relative" in config.threshold_kinds else config.threshold_kinds[0]
    return dataclasses.replace(vectors, threshold=ThresholdKind(kind), **cut), text


def _random_heads(config: AttentionConfig, heads: int, causal: bool) -> VectorSet:
    """Return heads whose scale and threshold let some keys survive."""
    rng = np.random.default_rng(1)
    shape = (heads, _RANDOM_ROWS, config.head_dim)
    operands = {name: np.clip(np.rint(rng.normal(0, 40, shape)), -config.qk_max, config.qk_max).astype(np.int8)
                for name in "qkv"}
    scale, numbers = np.full(heads, 0.03, np.float32), np.arange(heads, dtype=np.int32)
    return VectorSet(**operands, q_scale=scale, k_scale=scale, v_scale=scale, tau=np.full(heads, 3, np.float32),
                     causal=causal, block=np.zeros(heads, np.int32), head=numbers, model="random")


def _array(kind: str, name: str, numbers: list[int]) -> Iterator[str]:
    yield f"static const {kind} {name}[{len(numbers)}] = {{"
    for start in range(0, len(numbers), _COLUMNS):
        yield f"    {', '.join(map(str, numbers[start:start + _COLUMNS]))},"
    yield from ("};", "")
