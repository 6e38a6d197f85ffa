"""What the drivers of LATTE cores share: registers, the ring of descriptors, the register file, Linux and PYNQ.

Needs NumPy, and latte_registers.py, which is generated with the hardware; hardware of another build or version is
refused. A driver is a `Device`, which works on two things that differ from system to system: *registers*, with
``read(offset)`` and ``write(offset, value)`` as of PYNQ's MMIO, and *allocate*, which returns NumPy arrays that have
``physical_address``, ``flush()`` and ``invalidate()`` as of PYNQ's buffers.
"""

import mmap
import os
import pathlib
import select
import time

import latte_registers as tables
import numpy as np

__all__ = ["Device", "Job", "JobFailed", "LatteError", "UDmaBuffer", "UioDevice"]

_COUNT = 1 << 16
"""Descriptors are counted modulo this."""
_LINE = 64
"""Bytes; allocations begin at a multiple, so that none shares a cache line or a beat with another."""
_CAUSES = {
    **tables.STATUS_BITS,
    "reset": "A soft reset ended it.",
    "status_lost": "Its status word could not be written.",
}
"""What a job can end with, in words."""


class LatteError(Exception):
    """What cannot be done, in one sentence."""


class JobFailed(LatteError):
    """A job ended with an error.

    Parameters
    ----------
    causes : list of str
        Bits of its status word, without `done` and `error`; `reset` or `status_lost` if it has none.
    texts : dict of str to str
        What causes mean that no status word has.
    """

    def __init__(self, causes, texts=None):
        said = _CAUSES | (texts or {})
        super().__init__("the job failed: " + "; ".join(f"{cause} ({said[cause].rstrip('.')})" for cause in causes))
        self.causes = causes


class Job:
    """What a driver knows of a job until its result is taken.

    Parameters
    ----------
    buffers : list
        Memory that is given back then.

    Attributes
    ----------
    causes : list of str or None
        What it failed by; none while it is under way.
    """

    def __init__(self, buffers):
        self.buffers = buffers
        self.causes = None


class Device:
    """A core behind a ring of descriptors; a driver calls `_start` when its own memory is there.

    Parameters
    ----------
    registers
        Has ``read(offset)`` and ``write(offset, value)``.
    allocate
        Called as ``allocate(shape=..., dtype=...)``.
    interrupt
        Has ``wait(seconds)``, which returns when the interrupt line is high or time is over; None: registers are
        polled.
    ring_log2
        Base-2 logarithm of the most jobs under way.
    timeout
        Seconds that a job may take; None: any time.

    Raises
    ------
    LatteError
        No core answers, or one of another version or build.
    """

    def __init__(self, registers, allocate, *, interrupt=None, ring_log2=4, timeout=10.0):
        self._registers = registers
        self._allocate = allocate
        self._interrupt = interrupt
        self._timeout = timeout
        self._ring_log2 = ring_log2
        self._slots = 1 << ring_log2
        self._submitted = 0
        self._first = 0  # the job with which the hardware began to count
        self._jobs = {}
        self._entries = {}
        self._check()
        self._ring = allocate(shape=(self._slots, tables.DESCRIPTOR_BYTES), dtype=np.uint8)
        address = self._ring.physical_address
        if address % tables.DESCRIPTOR_BYTES:
            raise LatteError(f"the ring lies at {address:#x}, which is no multiple of {tables.DESCRIPTOR_BYTES}")

    @classmethod
    def open_linux(cls, uio, buffer, *, interrupt=True, **settings):
        """Open a core by its uio device, as ``/dev/uio0``, and a u-dma-buf, as ``udmabuf0``."""
        device = UioDevice(uio)
        return cls(device, UDmaBuffer(buffer).allocate, interrupt=device if interrupt else None, **settings)

    @classmethod
    def open_pynq(cls, ip, *, interrupt=None, **settings):
        """Open a core of a PYNQ overlay, as ``overlay.latte_axi_0``, with its interrupt if it is connected.

        Parameters
        ----------
        ip
            Has ``mmio``.
        interrupt : pynq.Interrupt or None
        **settings
            As of the class.
        """
        import pynq

        return cls(ip.mmio, pynq.allocate, interrupt=interrupt and _PynqInterrupt(interrupt), **settings)

    def _areas(self):
        """Return the addresses of what the core must know, by the start of their registers."""
        return {"RING": self._ring.physical_address}

    def _start(self):
        """Reset the core, tell it where everything lies, and enable the ring."""
        self._soft_reset()
        self.write("CONTROL", clear=1)
        for name in ("ERROR", "INTERRUPT_STATUS"):
            self.clear(name)
        for area, address in self._areas().items():
            self.write(f"{area}_BASE_LOW", address=address & 0xFFFFFFFF)
            self.write(f"{area}_BASE_HIGH", address=address >> 32)
        self.write("RING_SIZE", log2=self._ring_log2)
        # A descriptor that could not be read asks for no interrupt, but is an error.
        interrupts = int(self._interrupt is not None)
        self.write("INTERRUPT_ENABLE", descriptor_done=interrupts, error=interrupts)
        self.write("CONTROL", enable=1)

    def _check(self):
        magic, version = self.read("ID")["magic"], self.read("VERSION")["version"]
        if magic != tables.CONSTANTS["magic"]:
            raise LatteError(f"register ID is {magic:#010x}: this is no LATTE core; give the address of its registers")
        if version != tables.CONSTANTS["version"]:
            raise LatteError(f"the core speaks version {version}, this driver version {tables.CONSTANTS['version']}; "
                             "take the driver out of the hardware's package")
        if self.read("FINGERPRINT")["fingerprint"] != tables.CONSTANTS["fingerprint"]:
            raise LatteError("the core was built for another configuration than this driver; take the driver out of "
                             "the hardware's package")

    def read(self, name):
        """Return the fields of a register as a dict."""
        offset, fields = tables.REGISTERS[name]
        word = int(self._registers.read(offset))
        return {field: word >> low & (1 << width) - 1 for field, (low, width) in fields.items()}

    def write(self, name, **values):
        """Write fields of a register, the others as 0."""
        offset, fields = tables.REGISTERS[name]
        self._registers.write(offset, sum(value << fields[field][0] for field, value in values.items()))

    def clear(self, name):
        """Return the names of the bits that are set in a register that ones clear, and clear them."""
        bits = [field for field, value in self.read(name).items() if value]
        self.write(name, **dict.fromkeys(bits, 1))
        return bits

    def write_entry(self, head, words):
        """Write the register file's entry of a head: integers of 16 bits, in the order of ``ENTRY_WORDS``.

        Waits until no job is under way: the one that is being judged would see a part of it.
        """
        heads = tables.CONSTANTS["heads"]
        if not 0 <= head < heads:
            raise LatteError(f"head {head} does not exist; the core has heads 0 to {heads - 1}")
        if len(words) != len(tables.ENTRY_WORDS):
            raise LatteError(f"an entry has {len(tables.ENTRY_WORDS)} words, not {len(words)}")
        self._drain()
        self.write("PARAMETER_SELECT", head=head)
        for word in words:
            self.write("PARAMETER_DATA", data=int(word))
        if "parameter_lost" in self.clear("ERROR"):
            raise LatteError(f"the core did not take all words of the entry of head {head}; write it again")
        self._entries[head] = list(words)

    def is_done(self, number):
        """Say whether a job is done."""
        return number < self._done()

    def reset(self):
        """Give up what is under way, and begin anew with the same entries of the register file.

        Jobs that are not done fail with `reset`.
        """
        self._soft_reset()
        for number, job in self._jobs.items():
            if job.causes is None:
                self._end(job, self._status(number) or ["reset"])
        self._first = self._submitted
        self._start()
        for head, words in self._entries.items():
            self.write_entry(head, words)

    def counters(self):
        """Return all counters by name."""
        return {name.removeprefix("COUNTER_").lower(): self.read(name)["count"] for name in tables.REGISTERS
                if name.startswith("COUNTER_")}

    def close(self):
        """Finish what is under way on the bus, and give all memory back."""
        self.write("INTERRUPT_ENABLE")
        self._soft_reset()
        for buffer in self._memory():
            buffer.freebuffer()
        self._jobs = {}

    def _memory(self):
        """Return all memory."""
        return [self._ring, *(buffer for job in self._jobs.values() for buffer in job.buffers)]

    def _check_room(self):
        """Raise `LatteError` if the ring holds no further job."""
        if len(self._jobs) == self._slots:
            raise LatteError(f"{self._slots} jobs wait for their result; take one first")

    def _submit(self, job, fields):
        """Hand a job with these fields of its descriptor to the core; return its number."""
        number = self._submitted
        fields = {**fields, "interrupt": int(self._interrupt is not None)}
        descriptor = sum(int(value) << tables.DESCRIPTOR[field][0] for field, value in fields.items())
        slot = self._slot(number)
        slot[:] = np.frombuffer(descriptor.to_bytes(tables.DESCRIPTOR_BYTES, "little"), np.uint8)
        slot.flush()  # it alone: the core may be writing the status of another
        self._jobs[number] = job
        self._submitted = number + 1
        self.write("RING_HEAD", number=(self._submitted - self._first) % _COUNT)
        return number

    def _take(self, number):
        """Wait for a job and forget it; return it, done.

        Raises
        ------
        LatteError
            There is no such job, or it is not done in time.
        """
        if number not in self._jobs:
            raise LatteError(f"there is no job {number} under way")
        self._wait(number)
        self._settle()
        return self._jobs.pop(number)

    def _drain(self):
        """Wait until no job is under way."""
        if self._submitted > self._first:
            self._wait(self._submitted - 1)
            self._settle()

    def _done(self):
        """Return the number of the first job that is not done."""
        pending = (self._submitted - self._first - self.read("RING_TAIL")["number"]) % _COUNT
        return self._submitted - pending

    def _wait(self, number):
        """Wait until a job is done."""
        began = time.monotonic()
        while not self.is_done(number):
            left = None if self._timeout is None else began + self._timeout - time.monotonic()
            if left is not None and left <= 0:
                raise LatteError(f"job {number} is not done after {self._timeout:g} s; STATUS says "
                                 f"{self.read('STATUS')}")
            if self._interrupt is not None:
                self._interrupt.wait(left)
                self.clear("INTERRUPT_STATUS")

    def _settle(self):
        """End all jobs that are done, in order."""
        done = self._done()
        for number, job in self._jobs.items():
            if job.causes is None and number < done:
                self._end(job, self._status(number) or ["status_lost"])

    def _end(self, job, causes):
        """Note what a job failed by; ``done`` is no cause."""
        job.causes = [cause for cause in causes if cause not in ("done", "error")]

    def _slot(self, number):
        """Return a job's place in the ring."""
        return self._ring[(number - self._first) % self._slots]

    def _status(self, number):
        """Return the names of the bits of a job's status word; none if it was not written."""
        slot, at = self._slot(number), tables.STATUS_OFFSET
        slot.invalidate()
        word = int.from_bytes(bytes(slot[at:at + 4]), "little")
        return [name for bit, name in enumerate(tables.STATUS_BITS) if word >> bit & 1]

    def _soft_reset(self):
        self.write("CONTROL", soft_reset=1)
        began = time.monotonic()
        while self.read("STATUS")["resetting"]:
            if self._timeout is not None and time.monotonic() - began > self._timeout:
                raise LatteError("the soft reset does not end: a slave on the bus does not answer")


class UioDevice:
    """Registers and interrupt of a device of Linux' uio.

    Parameters
    ----------
    path
        Such as ``/dev/uio0``.
    size
        Bytes of its first memory map.
    """

    def __init__(self, path, size=4096):
        self._file = os.open(path, os.O_RDWR | getattr(os, "O_SYNC", 0))
        self._map = mmap.mmap(self._file, size)
        self._words = np.frombuffer(self._map, "<u4")

    def read(self, offset):
        """Return a register."""
        return int(self._words[offset // 4])

    def write(self, offset, value):
        """Write a register."""
        self._words[offset // 4] = value

    def wait(self, seconds):
        """Enable the interrupt and wait for it, at most so many seconds; None: any time."""
        os.write(self._file, (1).to_bytes(4, "little"))
        ready, _, _ = select.select([self._file], [], [], seconds)
        if ready:
            os.read(self._file, 4)


class _Rows(np.ndarray):
    """Array in a u-dma-buf, with the interface of PYNQ's buffers; it is mapped without a cache."""

    physical_address = 0
    release = None

    def flush(self):
        """Do nothing: stores go to memory."""

    def invalidate(self):
        """Do nothing: loads come from memory."""

    def freebuffer(self):
        """Give the memory back."""
        if self.release:
            self.release()
            self.release = None


class UDmaBuffer:
    """Allocator in the memory of a u-dma-buf.

    Parameters
    ----------
    name
        Of the buffer, as ``udmabuf0``.
    devices, properties
        Folders of the device files and of their properties.
    """

    def __init__(self, name, devices="/dev", properties="/sys/class/u-dma-buf"):
        about = pathlib.Path(properties) / name
        self._address = int((about / "phys_addr").read_text(), 0)
        size = int((about / "size").read_text(), 0)
        file = os.open(pathlib.Path(devices) / name, os.O_RDWR | getattr(os, "O_SYNC", 0))
        self._map = mmap.mmap(file, size)
        os.close(file)
        self._free = [(0, size)]

    def allocate(self, shape, dtype):
        """Return an array of memory that the core can reach.

        Raises
        ------
        LatteError
            There is not enough left in one piece.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        taken = -(-size // _LINE) * _LINE
        place = next((n for n, (_, length) in enumerate(self._free) if length >= taken), None)
        if place is None:
            raise LatteError(f"the u-dma-buf has no {taken} bytes in one piece; load it with a larger size")
        start, length = self._free[place]
        self._free[place:place + 1] = [(start + taken, length - taken)] if length > taken else []
        array = np.frombuffer(self._map, dtype, size // np.dtype(dtype).itemsize, start).reshape(shape).view(_Rows)
        array.physical_address = self._address + start
        array.release = lambda: self._give_back(start, taken)
        return array

    def _give_back(self, start, length):
        """Put a piece back and join it to its neighbours."""
        joined = []
        for piece in sorted([*self._free, (start, length)]):
            if joined and sum(joined[-1]) == piece[0]:
                joined[-1] = (joined[-1][0], joined[-1][1] + piece[1])
            else:
                joined.append(piece)
        self._free = joined


class _PynqInterrupt:
    """PYNQ's interrupt, for code that is not asynchronous."""

    def __init__(self, interrupt):
        self._interrupt = interrupt

    def wait(self, seconds):
        """Wait for the interrupt, at most so many seconds; None: any time."""
        import asyncio
        import contextlib

        with contextlib.suppress(asyncio.TimeoutError):
            asyncio.get_event_loop().run_until_complete(asyncio.wait_for(self._interrupt.wait(), seconds))
