"""Descriptors and registers of the core with keys in memory: their tables, and what is checked of them."""

import itertools
import random

import numpy as np
import pytest

from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.memory.build import LONGEST, MemoryBuild
from latte.golden.memory.cache import CacheMemory, Handle
from latte.golden.memory.jobs import CacheJob, JobKind
from latte.rtl.axi.bus import MasterParameters
from latte.rtl.axi.descriptors import DESCRIPTOR_BYTES, STATUS_BYTES, STATUS_OFFSET
from latte.rtl.axi.read_engine import ReadEngine
from latte.rtl.memory.axi_cache_core import rows_master_of
from latte.rtl.memory.cache_descriptor_fetcher import CacheDescriptorFetcher
from latte.rtl.memory.cache_descriptors import (
    CACHE_FIELDS,
    CacheType,
    cache_causes_layout,
    cache_descriptor_layout,
    cache_status_word_layout,
)
from latte.rtl.memory.cache_registers import cache_register_table
from latte.sim.packing import pack_struct
from tests.rtl.axi.agents import ReadSlave, Sink, simulate
from tests.rtl.axi.wrapped import Wrapped

BUILD = MemoryBuild(core=preset("small", max_seq_len=LONGEST), page_rows=32, slots=7, tile_rows=3)


def registers(build: MemoryBuild) -> dict[str, dict[str, int]]:
    return {register.name: {field.name: field.reset for field in register.fields}
            for register in cache_register_table(build, rows_master_of(build))}


def test_fields_fill_the_descriptor():
    assert sum(field.width for field in CACHE_FIELDS) == 8 * DESCRIPTOR_BYTES
    assert cache_descriptor_layout()["status"].offset == 8 * STATUS_OFFSET
    assert all(cache_descriptor_layout()[field.name].offset == field.offset for field in CACHE_FIELDS)
    assert cache_status_word_layout().size == 8 * STATUS_BYTES and cache_status_word_layout()["number"].offset == 16


def test_a_driver_learns_how_much_memory_a_core_needs():
    memory, said = CacheMemory(BUILD, 2), registers(BUILD)
    assert said["KEYS"]["most"] == LONGEST and said["SLOTS"]["number"] == 7 and said["SHAPE"]["tile_rows"] == 3
    assert said["PAGE"] == {"rows": 32, "bytes": memory.page_address(1) - memory.page_address(0)}
    assert said["RECORD"]["bytes"] == memory.state_address(1)
    assert said["SPILL"]["bytes"] >= 3 * 2 * 4 * LONGEST


def test_fingerprint_is_that_of_bits_and_of_what_lies_in_memory():
    def fingerprint(**changes) -> int:
        return registers(MemoryBuild(**{"core": preset("small")} | changes))["FINGERPRINT"]["fingerprint"]

    assert fingerprint() == fingerprint(tile_rows=1, candidates=100, slots=2)
    assert len({fingerprint(), fingerprint(page_rows=16), fingerprint(bus_bytes=8),
                fingerprint(core=preset("small", key_groups=0))}) == 4


@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_numbers_are_checked_as_the_golden_model_does(idle):
    """Every type with all small numbers; an error of each other sort besides."""
    master, rng = MasterParameters(data_bits=128), random.Random(3)
    d, descriptors, wanted = BUILD.core.head_dim, [], []
    for kind, heads, queries, rows in itertools.product(JobKind, range(3), range(3), range(3)):
        job = CacheJob(kind, Handle(0, 1), 0, *(np.zeros(shape, np.int8) for shape in (
            (heads, queries, d), (rows, d), (rows, d))))
        try:
            job.check(BUILD)
            causes = set()
        except LatteError:
            causes = {"shape_invalid"}
        fields = {"type": CacheType[kind.name], "heads": heads, "queries": queries, "rows": rows, "slot": 5,
                  "generation": 9, "status": rng.getrandbits(32), "q_address": 16 * rng.getrandbits(40)}
        if rng.random() < 0.3:
            name, cause = rng.choice([("o_stride", "unaligned"), ("v_address", "unaligned"),
                                      ("reserved_flags", "reserved_set"), ("reserved_half", "reserved_set")])
            fields[name] = 1 << rng.randrange(4)
            causes = causes | {cause}
        elif rng.random() < 0.1:
            fields["type"], causes = rng.choice([0, 1, 5, 128 + CacheType.DECODE]), {"unknown_type"}
        descriptors.append(fields)
        wanted.append(causes)
    words = [pack_struct(cache_descriptor_layout(), **fields) for fields in descriptors]
    engine, fetcher = ReadEngine(master, 1), CacheDescriptorFetcher(master)

    def decode(ctx, stream):
        fields = {name: ctx.get(stream.payload.fields[name]) for name in cache_descriptor_layout().members}
        causes = {name for name in cache_causes_layout().members if ctx.get(stream.payload.causes[name])}
        return fields, causes, ctx.get(stream.payload.invalid)

    def memory(address):
        number, at = divmod(address, DESCRIPTOR_BYTES)
        return words[number] >> 8 * at & ((1 << 128) - 1)

    sink, taken = Sink(fetcher.checked, rng, idle, decode), 0

    def each(ctx, cycle):
        nonlocal taken
        ctx.set(fetcher.enable, 1)
        ctx.set(fetcher.waiting, taken < len(words))
        ctx.set(fetcher.address, DESCRIPTOR_BYTES * taken)
        taken += ctx.get(fetcher.take)

    simulate(Wrapped(engine, fetcher), [ReadSlave(engine, master, memory, rng, idle), sink],
             lambda: len(sink.received) == len(words), each=each)
    for fields, causes, (read, found, invalid) in zip(descriptors, wanted, sink.received, strict=True):
        assert (found, invalid) == (causes, bool(causes)), fields
        assert read == dict.fromkeys(cache_descriptor_layout().members, 0) | fields
    assert sum(not causes for causes in wanted) > 10
