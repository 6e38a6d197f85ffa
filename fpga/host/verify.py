"""Verify a board: run heads through the driver and compare what comes back with the golden model."""

from collections.abc import Iterator

import numpy as np

from latte.fpga.host.driver import Board, JobRefused
from latte.golden.attention import HeadTrace, attend
from latte.golden.jobs import Job
from latte.golden.quantizer import softmax_scale
from latte.golden.reference import MAX_ERROR_V_LSB, MAX_RELATIVE_RMS, output_error, reference_output
from latte.golden.register_image import RegisteredVectors
from latte.golden.vectors import VectorSet
from latte.sim.simulate import HeadRun

__all__ = ["verify_heads"]


def verify_heads(board: Board, vectors: VectorSet) -> Iterator[HeadRun]:
    """Yield the outcome of each head of `vectors`, which must fit the board's configuration.

    Heads of `RegisteredVectors` use the image that `Board.load_image` wrote; others write their own entry.

    Output codes and the counted pairs and survivors are compared. Cycles are the board's own count, in which it also
    waits for the serial line.
    """
    config = board.config
    for h, name in enumerate(vectors.names()):
        parameters = vectors.parameters(h, config)
        q, k, v = vectors.q[h], vectors.k[h], vectors.v[h]
        trace = attend(q, k, v, parameters, config, causal=vectors.causal)
        head = {"name": name, "model": vectors.model, "block": int(vectors.block[h]), "head": int(vectors.head[h]),
                "keys": vectors.keys}
        board.clear()
        register = 0
        if isinstance(vectors, RegisteredVectors):
            register = vectors.register(h)
        else:
            board.load_parameters({register: parameters})
        try:
            output = board.run(Job(register, q, k, v, causal=vectors.causal))
        except JobRefused as error:
            yield HeadRun(**head, problems=[str(error)])
            continue
        report = board.report()
        counters = report.counters
        scale = softmax_scale(vectors.q_scale[h], vectors.k_scale[h], config.head_dim)
        relative_rms, largest_error = output_error(output, reference_output(trace, v, scale), config)
        problems = _differences(trace, output, counters)
        if "overflow" in report.status:
            problems.append("status: a queue of the core lost an entry")
        if relative_rms > MAX_RELATIVE_RMS or largest_error > MAX_ERROR_V_LSB:
            problems.append(f"the output's error exceeds the budget: relative RMS {relative_rms:.5f}, largest "
                            f"{largest_error:.3f} steps of V")
        yield HeadRun(**head, problems=problems, kept=counters["survivors"], visible=counters["pairs_estimated"],
                      cycles=counters["cycles"], utilisation=counters["estimator_beats"] / max(1, counters["cycles"]),
                      relative_rms=relative_rms, largest_error=largest_error)


def _differences(trace: HeadTrace, output: np.ndarray, counters: dict[str, int]) -> list[str]:
    """Return what differs from the golden model, one line each."""
    lines = []
    wrong = np.argwhere(output != trace.output)
    if len(wrong):
        row, element = wrong[0]
        lines.append(f"output: {len(wrong)} of {output.size} codes differ, first at row {row}, element {element}: "
                     f"expected {trace.output[row, element]}, got {output[row, element]}")
    for name, expected in (("survivors", trace.keep.sum()), ("pairs_estimated", trace.visible.sum())):
        if counters[name] != expected:
            lines.append(f"{name}: expected {expected}, the board counted {counters[name]}")
    return lines
