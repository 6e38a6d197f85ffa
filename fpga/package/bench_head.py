"""The head that a package's bench runs: operands, register entry and expected output as a C header."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.thresholds import ThresholdKind
from latte.golden.vectors import VectorSet, embedded_vectors
from latte.rtl.axi.registers import output_element_bytes
from latte.rtl.common.entry_words import pack_entry
from latte.sim.program import Program

__all__ = ["bench_head", "head_header"]

_RANDOM_ROWS = 64
_COLUMNS = 32


def bench_head(config: AttentionConfig) -> tuple[Program, str]:
    """Return one job, and what it is.

    An embedded head, as far as its rows fit; random activations, if the build's rows have another length.
    """
    vectors = next(iter(embedded_vectors())).select([0])
    text = f"block {vectors.block[0]}, head {vectors.head[0]} of {vectors.model}"
    if config.head_dim != vectors.q.shape[2]:
        vectors, text = _random_head(config), "random activations"
    rows = {name: getattr(vectors, name)[:, :config.max_seq_len] for name in "qkv"}
    kind = "relative" if "relative" in config.threshold_kinds else config.threshold_kinds[0]
    return Program.of_vectors(dataclasses.replace(vectors, threshold=ThresholdKind(kind), **rows), config), text


def _random_head(config: AttentionConfig) -> VectorSet:
    """Return a head whose scale and threshold let some keys survive."""
    rng = np.random.default_rng(1)
    shape = (1, _RANDOM_ROWS, config.head_dim)
    operands = {name: np.clip(np.rint(rng.normal(0, 40, shape)), -config.qk_max, config.qk_max).astype(np.int8)
                for name in "qkv"}
    scale, one = np.full(1, 0.03, np.float32), np.zeros(1, np.int32)
    return VectorSet(**operands, q_scale=scale, k_scale=scale, v_scale=scale, tau=np.full(1, 3, np.float32),
                     causal=False, block=one, head=one, model="random")


def head_header(config: AttentionConfig) -> str:
    """Return the text of ``head.h``."""
    program, text = bench_head(config)
    job = program.jobs[0]
    (_, trace), = program.expected()
    words = [word["data"] for word in pack_entry(0, program.parameters[0], config)]
    kind = f"int{8 * output_element_bytes(config)}_t"
    parts = [f"/* The first {len(job.q)} rows of {text}, and what the golden model makes of them; generated. */",
             "#ifndef HEAD_H", "#define HEAD_H", "", "#include <stdint.h>", "", f"#define HEAD_ROWS {len(job.q)}u",
             f"#define HEAD_CAUSAL {int(job.causal)}", "", *_array("uint16_t", "head_entry", words)]
    for name, rows in (("q", job.q), ("k", job.k), ("v", job.v)):
        parts += _array("int8_t", f"head_{name}", rows.reshape(-1).tolist())
    parts += _array(kind, "head_output", trace.output.reshape(-1).tolist())
    return "\n".join([*parts, "#endif", ""])


def _array(kind: str, name: str, numbers: list[int]) -> Iterable[str]:
    yield f"static const {kind} {name}[{len(numbers)}] = {{"
    for start in range(0, len(numbers), _COLUMNS):
        yield f"    {', '.join(map(str, numbers[start:start + _COLUMNS]))},"
    yield from ("};", "")
