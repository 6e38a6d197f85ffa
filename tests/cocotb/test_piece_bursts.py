"""Pieces of memory that are cut into bursts, against whole numbers, under the stall matrix."""

import random

import pytest

from latte.rtl.axi.bus import BOUNDARY, MasterParameters
from latte.rtl.memory.piece_bursts import PIECE_BITS, PieceBursts
from latte.sim.block_testbench import Expect, Offer
from latte.sim.stalls import STALLS
from tests.cocotb.blocks import SEED

stalls = pytest.mark.parametrize("stall", STALLS)
masters = pytest.mark.parametrize("master", [
    MasterParameters(burst_beats=16, reads_in_flight=3),
    pytest.param(MasterParameters(data_bits=128, burst_beats=8, reads_in_flight=1), marks=pytest.mark.slow)],
    ids=lambda master: str(master.data_bits))


def random_piece(rng: random.Random, master: MasterParameters, most: int) -> dict[str, int]:
    """Return a piece that begins anywhere, or close to a multiple of 4 KB."""
    address = rng.getrandbits(64)
    if rng.getrandbits(1):
        address = address & ~(BOUNDARY - 1) | BOUNDARY - 8 * rng.randint(1, 40)
    return {"address": address & ~(master.data_bytes - 1),
            "beats": rng.choice([1, 2, rng.randint(1, 2 * master.burst_beats), rng.randint(1, most)])}


def bursts_of(piece: dict[str, int], master: MasterParameters) -> list[dict[str, int]]:
    """Return the bursts of a piece: as long as the master's, what is left, and 4 KB let them be."""
    bursts, address, left = [], piece["address"], piece["beats"]
    while left:
        beats = min(left, master.burst_beats, (BOUNDARY - address % BOUNDARY) // master.data_bytes)
        bursts.append({"address": address, "beats": beats})
        address, left = (address + beats * master.data_bytes) % (1 << 64), left - beats
    return bursts


@stalls
@masters
def test_pieces_are_cut(master, stall, check):
    """Of any length, none among them."""
    rng = random.Random(SEED)
    longest = (1 << PIECE_BITS) - 1
    pieces = [random_piece(rng, master, 600) for _ in range(300)]
    pieces += [{"address": (1 << 64) - BOUNDARY - 8 * master.data_bytes, "beats": beats} for beats in (0, longest, 1)]
    check(PieceBursts(master), f"piece-bursts-{master.data_bits}", {"piece": Offer(pieces)},
          {"burst": Expect([burst for piece in pieces for burst in bursts_of(piece, master)])})
