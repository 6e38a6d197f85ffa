"""Driver of the LATTE attention core with keys in memory behind AXI, for PYNQ and for Linux with uio and u-dma-buf.

Needs NumPy, and latte_device.py and latte_registers.py of the same package::

    core = open_linux("/dev/uio0", "udmabuf0", pages=500)   # or open_pynq(overlay.latte_axi_cache_0, pages=500)
    core.write_entry(0, words)
    sequence = core.open()
    codes = core.run(sequence, 0, q, k, v)                  # a prompt: q int8 [positions, heads, d], k and v [rows, d]
    codes = core.run(sequence, 0, q, k, v)                  # a token: q int8 [heads, d], k and v [1, d]
    core.free(sequence)

A sequence is the cache of one head of keys of one attention block. The driver keeps records, page tables and pages:
it gives a sequence the pages that a job needs before the job is handed over, and takes them back when it is freed.
"""

import heapq

import latte_registers as tables
import numpy as np
from latte_device import Device, Job, JobFailed, LatteError, UDmaBuffer, UioDevice

__all__ = ["JobFailed", "LatteCache", "LatteError", "OutOfPages", "Sequence", "SequenceGone", "UDmaBuffer", "UioDevice",
           "open_linux", "open_pynq"]

_ALIGNMENT = 64
"""Bytes; of page tables, so that they share no cache line with records, which the core writes."""
_GENERATIONS = 1 << tables.RECORD["generation"][1]
_MOST = (1 << tables.DESCRIPTOR["rows"][1]) - 1
_SPOILED = {"read_failed", "write_failed"}
"""Causes that spoil outputs alone: the rows were appended."""
_LOST = {"sequence_lost": "An earlier job may have left its sequence's record written in part."}


class OutOfPages(LatteError):
    """There are fewer free pages than a sequence needs; nothing has changed."""


class SequenceGone(LatteError):
    """A sequence was freed, or lost: only `LatteCache.free` takes a lost one."""


class Sequence:
    """A sequence, from `LatteCache.open`.

    Attributes
    ----------
    slot, generation : int
        What names it.
    length : int
        Keys, those of jobs under way included.
    lost : bool
        Its record may be written in part: an append was under way in a soft reset, or met an error of the memory.
    """

    def __init__(self, slot, generation):
        self.slot = slot
        self.generation = generation
        self.length = 0
        self.lost = False
        self._pages = []


class LatteCache(Device):
    """A core with keys in memory.

    Parameters
    ----------
    registers, allocate, **settings
        As of `Device`.
    pages
        Of all sequences together.
    allocate_pages
        As `allocate`, of the memory behind m_axi_cache: records, page tables, pages, what tiles spill; by default the
        same.

    Attributes
    ----------
    page_rows : int
        Keys of a page.
    longest : int
        Most keys of a sequence.

    Raises
    ------
    LatteError
        No core answers, or one of another version or build; or the memory has another alignment.
    """

    def __init__(self, registers, allocate, *, pages, allocate_pages=None, **settings):
        super().__init__(registers, allocate, **settings)
        allocate_pages = allocate_pages or allocate
        page, self.longest = self.read("PAGE"), self.read("KEYS")["most"]
        self.page_rows = page["rows"]
        self._record_bytes = self.read("RECORD")["bytes"]
        self._beat = tables.CONSTANTS["data_bits"] // 8
        slots = self.read("SLOTS")["number"]
        self._table_at = _padded(slots * self._record_bytes, _ALIGNMENT)
        self._table_bytes = _padded(tables.TABLE_ENTRY_BYTES * -(-self.longest // self.page_rows), self._beat)
        areas = {"RECORD": self._table_at + slots * self._table_bytes, "PAGE": pages * page["bytes"],
                 "SPILL": self.read("SPILL")["bytes"]}
        self._held = {area: allocate_pages(shape=(max(1, size),), dtype=np.uint8) for area, size in areas.items()}
        for area, memory in self._held.items():
            if memory.physical_address % self._beat:
                raise LatteError(f"{area} lies at {memory.physical_address:#x}, which is no multiple of {self._beat}")
        self._records = self._held["RECORD"]
        self._records[:] = 0
        self._records.flush()
        self._free_pages = list(range(pages))
        self._sequences = {}
        self._generations = [0] * slots
        self._arrays = []
        self._start()

    def _areas(self):
        return super()._areas() | {area: memory.physical_address for area, memory in self._held.items()}

    def _memory(self):
        return [self._ring, *self._held.values(), *self._arrays]

    @property
    def free_pages(self):
        """Pages that no sequence has."""
        return len(self._free_pages)

    def allocate(self, shape, dtype=np.int8):
        """Return an array that jobs use where it lies: operands and outputs that are slices of it are not copied.

        Such a slice has positions as far apart as it likes, in whole beats, and rows of all heads one behind the other.
        It belongs to the core until the result is taken.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = self._allocate(shape=(max(1, size),), dtype=np.uint8)
        self._arrays.append(memory)
        return np.asarray(memory)[:size].view(dtype).reshape(shape)

    def open(self):
        """Begin a sequence without keys and pages; waits until no job is under way.

        Raises
        ------
        LatteError
            All slots have a sequence.
        """
        slot = next((slot for slot in range(len(self._generations)) if slot not in self._sequences), None)
        if slot is None:
            raise LatteError(f"all {len(self._generations)} slots hold a sequence; free one")
        self._drain()
        self._generations[slot] = (self._generations[slot] + 1) % _GENERATIONS
        sequence = Sequence(slot, self._generations[slot])
        self._write_record(slot, live=1, generation=sequence.generation,
                           table_address=self._records.physical_address + self._table(slot))
        self._write_entries(sequence, 0, np.zeros(self._table_bytes // tables.TABLE_ENTRY_BYTES, np.uint32))
        self._sequences[slot] = sequence
        return sequence

    def reserve(self, sequence, keys):
        """Give a sequence pages for so many keys in all; nothing if it has them.

        Raises
        ------
        SequenceGone
        OutOfPages
        LatteError
            The length is beyond the core.
        """
        self._check_sequence(sequence)
        if keys > self.longest:
            raise LatteError(f"{keys} keys are more than the {self.longest} of the longest sequence; begin another")
        held = len(sequence._pages)
        missing = -(-keys // self.page_rows) - held
        if missing > len(self._free_pages):
            raise OutOfPages(f"{keys} keys take {missing} more pages, but {len(self._free_pages)} are free; free a "
                             "sequence, or open the core with more pages")
        if missing > 0:
            sequence._pages += [heapq.heappop(self._free_pages) for _ in range(missing)]
            self._write_entries(sequence, held, np.array(sequence._pages[held:], np.uint32) + 1)

    def free(self, sequence):
        """End a sequence, a lost one as well; waits until no job is under way.

        Raises
        ------
        SequenceGone
            It was freed before.
        """
        self._check_sequence(sequence, lost=True)
        self._drain()
        self._write_record(sequence.slot, live=0, generation=sequence.generation)
        for page in sequence._pages:
            heapq.heappush(self._free_pages, page)
        sequence._pages = []
        del self._sequences[sequence.slot]

    def run(self, sequence, head, q=None, k=None, v=None, o=None):
        """Append rows, ask queries; return output codes, as `result` does.

        `submit` and `result` do the same in two steps, so that jobs follow one another without a gap.
        """
        return self.result(self.submit(sequence, head, q, k, v, o))

    def submit(self, sequence, head, q=None, k=None, v=None, o=None):
        """Hand a job to the core and return its number, for `result`.

        Parameters
        ----------
        sequence : Sequence
        head
            First entry of the register file: query head ``h`` has entry ``head + h``.
        q
            int8 [heads, d]: a token, with one row of K and V at most. int8 [positions, heads, d]: the last positions of
            a prompt, no more than rows. None: rows are appended, nothing is asked.
        k, v
            int8 [rows, d], to append before; None: none.
        o
            Slice of an array of `allocate` that takes the outputs; shape of `q`, as wide as output codes are in memory.
            None: `result` makes one.

        Raises
        ------
        SequenceGone
        OutOfPages
            Nothing was handed over, nothing has changed.
        LatteError
            Operands have another form, the sequence would be too long, or the ring is full of jobs without a `result`.
        """
        self._check_room()
        self._check_sequence(sequence)
        k, v = (self._shaped(name, rows, 2) for name, rows in (("k", k), ("v", v)))
        if len(k) != len(v):
            raise LatteError(f"{len(k)} keys and {len(v)} values; there must be as many")
        if q is None:
            if o is not None:
                raise LatteError("rows that are appended have no outputs; leave o out")
            queries, kind = self._shaped("q", None, 3), tables.TYPE_APPEND
        elif np.ndim(q) == 2:
            queries, kind = self._shaped("q", q, 2)[None], tables.TYPE_DECODE
            if len(k) > 1:
                raise LatteError(f"a token appends one row at most, not {len(k)}; give q of a prompt as [positions, "
                                 "heads, d]")
        else:
            queries, kind = self._shaped("q", q, 3), tables.TYPE_PREFILL
            if len(queries) > max(1, len(k)):
                raise LatteError(f"a prompt asks queries of the rows that it appends, {len(k)}, not {len(queries)}")
        if q is not None and 0 in queries.shape:
            raise LatteError("q has no rows; leave it out to append")
        if max(len(k), *queries.shape[:2], head) > _MOST or head < 0:
            raise LatteError(f"a job has at most {_MOST} rows, positions and heads, and entries up to {_MOST}")
        out = None if q is None else self._output(queries.shape, o)
        self.reserve(sequence, sequence.length + len(k))
        buffers = []
        try:
            places = {"q": self._place(queries, buffers)}
            places["k"], places["v"] = self._place_pair(k, v, buffers)
            if q is not None:
                places["o"] = self._take_rows(queries.shape, self._code, buffers) if out is None else out
        except BaseException:
            self._give_back(buffers)
            raise
        fields = {"type": kind, "head": head, "queries": len(queries), "rows": len(k), "slot": sequence.slot,
                  "generation": sequence.generation, "heads": queries.shape[1], "kv_stride": self._stride(places["k"])}
        for name, rows in places.items():
            self._each_piece(rows, "flush")
            fields[f"{name}_address"] = self._address(rows)
            if name in "qo":
                fields[f"{name}_stride"] = self._stride(rows)
        job = Job(buffers)
        job.sequence, job.rows, job.output, job.given = sequence, len(k), places.get("o"), o
        job.token = kind == tables.TYPE_DECODE
        sequence.length += len(k)
        return self._submit(job, fields)

    def result(self, number):
        """Wait for a job; return its output codes, int32 as `q`, or `o` if it was given, or None if nothing was asked.

        Raises
        ------
        JobFailed
            It ended with an error; its operands are given back. Its rows were appended only if nothing but
            `read_failed` or `write_failed` is the cause.
        LatteError
            There is no such job, or it is not done in time.
        """
        job = self._take(number)
        codes = job.given
        if job.output is not None:
            self._each_piece(job.output, "invalidate")
            if job.given is None:
                codes = (job.output[0] if job.token else job.output).astype(np.int32)
        self._give_back(job.buffers)
        if job.causes:
            raise JobFailed(job.causes, _LOST)
        return codes

    def _end(self, job, causes):
        super()._end(job, causes)
        sequence = job.sequence
        if sequence.lost:
            job.causes = job.causes or ["sequence_lost"]
        elif job.rows and set(job.causes) - _SPOILED:
            sequence.length -= job.rows
            # Rows that could not be read leave the record alone; else an error may be that of writing it.
            torn = "failed_memory_error" in job.causes and "read_failed" not in job.causes
            sequence.lost = torn or bool({"reset", "status_lost"} & set(job.causes))

    def _check_sequence(self, sequence, *, lost=False):
        if self._sequences.get(sequence.slot) is not sequence:
            raise SequenceGone(f"the sequence of slot {sequence.slot}, generation {sequence.generation}, was freed; "
                               "open another")
        if sequence.lost and not lost:
            raise SequenceGone(f"the sequence of slot {sequence.slot} was lost: its record may be written in part; "
                               "free it, and append its rows to another")

    def _table(self, slot):
        """Return where a slot's page table lies behind the records."""
        return self._table_at + slot * self._table_bytes

    def _write_record(self, slot, **fields):
        """Write an empty sequence's record; other fields are 0.

        No job is under way: what lies beside it in a cache line is as the core left it.
        """
        at = slot * self._record_bytes
        around = self._records[at // _ALIGNMENT * _ALIGNMENT:_padded(at + self._record_bytes, _ALIGNMENT)]
        around.invalidate()
        word = sum(value << tables.RECORD[name][0] for name, value in fields.items())
        self._records[at:at + self._record_bytes] = np.frombuffer(word.to_bytes(self._record_bytes, "little"), np.uint8)
        around.flush()

    def _write_entries(self, sequence, index, entries):
        """Write entries of a page table from an index on."""
        size = tables.TABLE_ENTRY_BYTES
        at = self._table(sequence.slot) + size * index
        part = self._records[at:at + size * len(entries)]
        part[:] = entries.astype(f"<u{size}").view(np.uint8)
        part.flush()

    @property
    def _code(self):
        """Type of output codes in memory."""
        return np.dtype(f"<i{tables.CONSTANTS['element_bytes']}")

    def _shaped(self, name, rows, dimensions):
        """Return rows, none for None."""
        head_dim = tables.CONSTANTS["head_dim"]
        if rows is None:
            return np.zeros((0,) * (dimensions - 1) + (head_dim,), np.int8)
        rows = np.asarray(rows)
        if rows.dtype != np.int8 or rows.ndim != dimensions or rows.shape[-1] != head_dim:
            form = ", ".join([*{2: ["rows"], 3: ["positions", "heads"]}[dimensions], str(head_dim)])
            raise LatteError(f"{name} must be int8 [{form}], not {rows.dtype} {list(rows.shape)}")
        return rows

    def _output(self, shape, o):
        """Return the given array of outputs as [positions, heads, d]; None if there is none."""
        if o is None:
            return None
        o = o[None] if o.ndim == 2 else o
        if o.shape != shape or o.dtype != self._code or not self._lies_well(o):
            raise LatteError(f"o must be a slice of an array of allocate, {self._code.name} {list(shape)}, in which "
                             "each position has its heads one behind the other and begins with a beat of "
                             f"{self._beat} bytes")
        return o

    def _place(self, rows, buffers):
        """Return rows where the core can read them: themselves, or a copy."""
        if not rows.size or self._lies_well(rows):
            return rows
        copy = self._take_rows(rows.shape, rows.dtype, buffers)
        copy[...] = rows
        return copy

    def _place_pair(self, k, v, buffers):
        """Return rows of K and of V, which have one stride."""
        k, v = self._place(k, buffers), self._place(v, buffers)
        if len(k) > 1 and self._stride(k) != self._stride(v):
            pair = self._take_rows((2, *k.shape), k.dtype, buffers)
            pair[0], pair[1] = k, v
            return pair[0], pair[1]
        return k, v

    def _take_rows(self, shape, dtype, buffers):
        """Return an array for the time of a job."""
        array = self.allocate(shape, dtype)
        buffers.append(self._arrays[-1])
        return array

    def _give_back(self, buffers):
        """Free what a job took."""
        self._arrays = [array for array in self._arrays if all(array is not buffer for buffer in buffers)]
        for buffer in buffers:
            buffer.freebuffer()

    def _memory_of(self, rows):
        """Return (memory that an array lies in, bytes from its first), or None."""
        for memory in self._arrays:
            at = rows.ctypes.data - memory.ctypes.data
            if 0 <= at < memory.nbytes:
                return memory, at
        return None

    def _lies_well(self, rows):
        """Say whether a job can use an array where it lies."""
        size = rows.dtype.itemsize
        packed = rows[:1].flags.c_contiguous
        found = self._memory_of(rows)
        return bool(found and packed and (len(rows) < 2 or rows.strides[0] >= rows[0].size * size)
                    and not rows.strides[0] % self._beat
                    and not (found[0].physical_address + found[1]) % self._beat)

    def _stride(self, rows):
        return rows.strides[0] if len(rows) > 1 else 0

    def _address(self, rows):
        if not rows.size:
            return 0
        memory, at = self._memory_of(rows)
        return memory.physical_address + at

    def _each_piece(self, rows, what):
        """Flush or invalidate the bytes of rows, and none between them: they are others'."""
        if not rows.size:
            return
        memory, at = self._memory_of(rows)
        stride, size = rows.strides[0], rows[0].nbytes
        if len(rows) == 1 or stride == size:
            stride, size = rows.nbytes, rows.nbytes
        for first in range(at, at + (1 if size == rows.nbytes else len(rows)) * stride, stride):
            getattr(memory[first:first + size], what)()


def _padded(size, to):
    return -(-size // to) * to


open_linux, open_pynq = LatteCache.open_linux, LatteCache.open_pynq
