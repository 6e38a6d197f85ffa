"""Driver of the LATTE attention core behind AXI, for PYNQ and for Linux with uio and u-dma-buf.

Needs NumPy, and latte_device.py and latte_registers.py of the same package::

    core = open_pynq(overlay.latte_axi_0)                   # PYNQ
    core = open_linux("/dev/uio0", "udmabuf0")              # uio, u-dma-buf
    core.write_entry(0, words)
    codes = core.run(0, q, k, v)
"""

import latte_registers as tables
import numpy as np
from latte_device import Device, Job, JobFailed, LatteError, UDmaBuffer, UioDevice

__all__ = ["JobFailed", "Latte", "LatteError", "UDmaBuffer", "UioDevice", "open_linux", "open_pynq"]


class Latte(Device):
    """A core; parameters are those of `Device`."""

    def __init__(self, registers, allocate, **settings):
        super().__init__(registers, allocate, **settings)
        self._start()

    def run(self, head, q, k, v, *, fresh=True, causal=False):
        """Load keys and values, compute queries; return output codes, int32 [len(q), head_dim].

        `submit` and `result` do the same in two steps, so that jobs follow one another without a gap.
        """
        return self.result(self.submit(head, q, k, v, fresh=fresh, causal=causal))

    def submit(self, head, q, k, v, *, fresh=True, causal=False):
        """Hand a job to the core and return its number, for `result`.

        Parameters
        ----------
        head
            Entry of the register file.
        q, k, v
            int8 [rows, head_dim]; keys and values may have no rows if `fresh` is false.
        fresh
            They begin a new sequence; else they are appended to the present one.
        causal
            The queries are the last positions, each sees the keys up to its own.

        Raises
        ------
        LatteError
            Operands have another form, or the ring is full of jobs without a `result`.
        """
        self._check_room()
        if len(k) != len(v):
            raise LatteError(f"{len(k)} keys and {len(v)} values; there must be as many")
        operands = {name: self._place(name, rows) for name, rows in (("q", q), ("k", k), ("v", v))}
        size = tables.CONSTANTS["element_bytes"] * tables.CONSTANTS["head_dim"]
        operands["o"] = self._rows(len(q), size)
        fields = {"type": tables.TYPE_JOB, "fresh": int(fresh), "causal": int(causal), "head": head,
                  "query_rows": len(q), "load_rows": len(k)}
        for name, rows in operands.items():
            rows.flush()
            fields[f"{name}_address"], fields[f"{name}_stride"] = rows.physical_address, rows.shape[1]
        job = Job(list(operands.values()))
        job.output, job.count = operands["o"], len(q)
        return self._submit(job, fields)

    def result(self, number):
        """Wait for a job; return its output codes, int32 [rows, head_dim].

        Raises
        ------
        JobFailed
            It ended with an error; its operands are given back.
        LatteError
            There is no such job, or it is not done in time.
        """
        job = self._take(number)
        job.output.invalidate()
        size = tables.CONSTANTS["element_bytes"]
        row_bytes = size * tables.CONSTANTS["head_dim"]
        codes = np.ascontiguousarray(job.output[:job.count, :row_bytes]).view(f"<i{size}").astype(np.int32)
        for buffer in job.buffers:
            buffer.freebuffer()
        if job.causes:
            raise JobFailed(job.causes)
        return codes

    def _place(self, name, rows):
        """Return rows in memory that the core can read."""
        rows = np.asarray(rows)
        head_dim = tables.CONSTANTS["head_dim"]
        if rows.dtype != np.int8 or rows.ndim != 2 or rows.shape[1] != head_dim:
            raise LatteError(f"{name} must be int8 [rows, {head_dim}], not {rows.dtype} {list(rows.shape)}")
        placed = self._rows(len(rows), head_dim)
        placed[:len(rows), :head_dim] = rows.view(np.uint8)
        return placed

    def _rows(self, count, size):
        """Allocate rows of whole beats; one for none, since there is no memory of no bytes."""
        beat = tables.CONSTANTS["data_bits"] // 8
        return self._allocate(shape=(max(count, 1), -(-size // beat) * beat), dtype=np.uint8)


open_linux, open_pynq = Latte.open_linux, Latte.open_pynq
