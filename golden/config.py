"""The one frozen description of an accelerator, shared by the golden model, the RTL, the testbenches and the builds."""

import dataclasses
from typing import Any, Literal

from latte.golden.errors import LatteError

__all__ = ["AttentionConfig", "PRESETS", "THRESHOLD_KINDS", "ceil_div", "ceil_log2", "preset"]

THRESHOLD_KINDS = ("relative", "mass", "absolute")
"""Names of the kinds of threshold, in the order of their numbers in hardware."""


def ceil_div(a: int, b: int) -> int:
    """Return ``a / b`` rounded up, for ``b > 0``."""
    return -(-a // b)


def ceil_log2(n: int) -> int:
    """Return the number of bits that count from 0 to ``n - 1`` (0 for ``n = 1``)."""
    return (n - 1).bit_length()


def _widest(most: int, lanes: list[Any]) -> int:
    """Return the largest power of two up to `most` that divides all of `lanes`; 1 if one of them is no number."""
    if not all(isinstance(n, int) for n in lanes):
        return 1
    return max(n for n in (1 << bit for bit in range(most.bit_length())) if all(of % n == 0 for of in lanes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Sizes and parallelism of one LATTE attention core.

    Numeric fields decide the bits of the result; parallelism fields decide area and cycles only.

    Parameters
    ----------
    engine
        ``"latte"``; ``"serial"``: the same bits from one multiplier row at a time, for the smallest FPGAs; or
        ``"dense"``: the baseline, every partial product of every key and no filter.
    head_dim
        Elements of a query, key or value vector, ``d``.
    max_seq_len
        Keys (and values) a scratchpad bank holds, at most 4096 in hardware (`latte.rtl.engines`); or, of keys in
        memory, a sequence.
    heads
        Entries of the head-wise register file (``tau`` and softmax scale per block and head).
    split
        ``"balanced"``: both parts of an element signed, as the dense baseline needs them; ``"slice"``: high half
        signed, low half unsigned.
    estimate_bits
        Width ``b`` of an element's high part, which alone makes the estimate: 4, or 3 or 2 of a balanced split.
    weight_bits
        Width of an unsigned softmax weight.
    exp_frac_bits
        Fraction bits of the base-2 exponent; the table of powers has ``2**exp_frac_bits`` entries.
    reciprocal_bits
        Index bits of the reciprocal table of the normaliser (linear interpolation between entries).
    fraction_bits
        Fraction bits of an output element, in units of one V step.
    query_lanes
        Query rows that share each key read: one tile of the score estimator.
    key_lanes
        Keys estimated per cycle for each of the ``query_lanes`` rows.
    dim_lanes
        Vector elements the estimator multiplies per cycle; below ``head_dim`` it is time-multiplexed.
    cross_lanes
        Elements of the cross products computed per cycle; a survivor takes ``ceil(d / lanes)`` cycles.
    value_lanes
        Elements of P·V accumulated per cycle.
    normalizer_lanes
        Output elements normalised per cycle; the width of one beat of the output stream.
    bus_bytes
        int8 elements per beat of each of the Q, K and V input streams.
    kv_banks
        2: the next head's keys and values are loaded while this one computes; 1: half the memory, no overlap.
    query_rows
        Rows of the query ring buffer, from arrival until the cross product unit is done with them.
    survivor_fifo_depth
        Groups of estimates waiting for the cross product unit; the serial engine has no such queue.
    threshold_kinds
        Kinds of threshold (`latte.golden.thresholds`) that the hardware has; with more than ``("relative",)`` an entry
        of the register file has a code for each octave of a row's length.
    key_groups
        Most groups of keys that get the mass of their pruned keys back (`latte.golden.pruned_mass`): 1, 2, 4 or 8;
        0: no such compensation.
    pe_structure
        Dot products of the score estimator: ``"table"`` (distributed arithmetic in LUT RAM), ``"multiplier"``
        (portable) or ``"dsp"``.

    Raises
    ------
    LatteError
        A field is out of range, or the fields contradict each other; the message names the field.
    """

    name: str = "custom"
    engine: Literal["latte", "serial", "dense"] = "latte"
    head_dim: int = 64
    max_seq_len: int = 1024
    heads: int = 144
    split: Literal["balanced", "slice"] = "balanced"
    estimate_bits: int = 4
    weight_bits: int = 12
    exp_frac_bits: int = 10
    reciprocal_bits: int = 9
    fraction_bits: int = 8
    query_lanes: int = 2
    key_lanes: int = 1
    dim_lanes: int = 64
    cross_lanes: int = 32
    value_lanes: int = 32
    normalizer_lanes: int = 2
    bus_bytes: int = 2
    kv_banks: int = 2
    query_rows: int = 128
    survivor_fifo_depth: int = 512
    threshold_kinds: tuple[str, ...] = ("relative",)
    key_groups: int = 0
    pe_structure: Literal["table", "multiplier", "dsp"] = "table"

    def __post_init__(self) -> None:
        ranges = {
            "head_dim": (4, 256), "max_seq_len": (1, 65536), "heads": (1, 4096), "estimate_bits": (2, 4),
            "weight_bits": (4, 16),
            "exp_frac_bits": (4, 12), "reciprocal_bits": (4, 10), "fraction_bits": (0, 9), "query_lanes": (1, 64),
            "key_lanes": (1, 64), "dim_lanes": (1, 256), "cross_lanes": (1, 256), "value_lanes": (1, 256),
            "normalizer_lanes": (1, 256), "bus_bytes": (1, 64), "kv_banks": (1, 2), "query_rows": (4, 4096),
            "survivor_fifo_depth": (16, 65536),
        }
        for field, (low, high) in ranges.items():
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise LatteError(f"{field} must be an integer from {low} to {high}, not {value!r}")
        choices = {"engine": ("latte", "serial", "dense"), "split": ("balanced", "slice"),
                   "pe_structure": ("table", "multiplier", "dsp")}
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                raise LatteError(f"{field} must be one of {', '.join(allowed)}, not {getattr(self, field)!r}")
        self._check_kinds_and_groups()
        if self.sum_bits > 31:
            raise LatteError(f"max_seq_len = {self.max_seq_len} with weight_bits = {self.weight_bits}: a row's sum of "
                             "weights must fit 31 bits, so that it can be rescaled in 64; choose less of one")
        if self.split == "slice" and self.estimate_bits != 4:
            raise LatteError(f"estimate_bits = {self.estimate_bits} needs split = 'balanced': the sliced split cuts an "
                             "element in halves")
        if self.head_dim % 2:
            raise LatteError(f"head_dim = {self.head_dim} must be even: the estimator takes query elements in pairs")
        if self.pe_structure == "dsp" and self.head_dim > 64:
            raise LatteError(f"pe_structure = 'dsp' holds head_dim up to 64, not {self.head_dim}; choose 'table'")
        if self.head_dim % self.bus_bytes:
            raise LatteError(f"bus_bytes = {self.bus_bytes} must divide head_dim = {self.head_dim}")
        if self.head_dim % self.dim_lanes:
            raise LatteError(f"dim_lanes = {self.dim_lanes} must divide head_dim = {self.head_dim}")
        if self.dim_lanes < self.head_dim and self.pe_structure != "multiplier":
            raise LatteError(f"dim_lanes = {self.dim_lanes} < head_dim = {self.head_dim} time-multiplexes the array, "
                             "which needs pe_structure = 'multiplier'")
        for field in ("dim_lanes", "cross_lanes", "value_lanes"):
            lanes = getattr(self, field)
            if lanes > self.head_dim:
                raise LatteError(f"{field} = {lanes} must not exceed head_dim = {self.head_dim}")
            if lanes % self.bus_bytes:
                raise LatteError(f"bus_bytes = {self.bus_bytes} must divide {field} = {lanes}")
        if self.engine == "dense" and (self.threshold_kinds != ("relative",) or self.key_groups):
            raise LatteError("engine = 'dense' prunes nothing: threshold_kinds must be relative alone, key_groups 0")
        if self.engine == "dense" and self.estimate_bits != 4:
            raise LatteError(f"engine = 'dense' multiplies 4-bit halves: leave estimate_bits at 4, not "
                             f"{self.estimate_bits}")
        if self.engine == "dense" and self.split != "balanced":
            raise LatteError("engine = 'dense' multiplies signed halves: leave split at 'balanced', not "
                             f"{self.split!r}; its scores are exact in any case")
        if self.engine == "dense" and not self.dim_lanes == self.value_lanes == self.head_dim:
            raise LatteError("engine = 'dense' takes whole vectors: dim_lanes and value_lanes must equal head_dim = "
                             f"{self.head_dim}")
        if self.engine == "serial":
            self._check_serial()
        if self.head_dim % self.normalizer_lanes or self.value_lanes % self.normalizer_lanes:
            raise LatteError(f"normalizer_lanes = {self.normalizer_lanes} must divide head_dim = {self.head_dim} and "
                             f"value_lanes = {self.value_lanes}")
        if self.key_lanes & (self.key_lanes - 1):
            raise LatteError(f"key_lanes = {self.key_lanes} must be a power of two, so that a key's memory is the low "
                             "bits of its index")
        if self.query_rows < 4 * self.query_lanes:
            raise LatteError(f"query_rows = {self.query_rows} must be at least 4 x query_lanes = "
                             f"{4 * self.query_lanes}, so that tiles can be prefetched")

    def _check_kinds_and_groups(self) -> None:
        kinds = self.threshold_kinds
        known = isinstance(kinds, tuple | list) and all(kind in THRESHOLD_KINDS for kind in kinds)
        if not known or not kinds or len(set(kinds)) < len(kinds):
            raise LatteError(f"threshold_kinds must name one or more of {', '.join(THRESHOLD_KINDS)}, each once, not "
                             f"{kinds!r}")
        # One order, so that builds with the same hardware are equal.
        object.__setattr__(self, "threshold_kinds", tuple(kind for kind in THRESHOLD_KINDS if kind in kinds))
        if isinstance(self.key_groups, bool) or self.key_groups not in (0, 1, 2, 4, 8):
            raise LatteError(f"key_groups must be 0, 1, 2, 4 or 8, not {self.key_groups!r}")
        if self.key_groups > 1 and self.bus_bytes & (self.bus_bytes - 1):
            raise LatteError(f"key_groups = {self.key_groups} compares elements as they arrive, which needs bus_bytes "
                             f"to be a power of two, not {self.bus_bytes}")

    def _check_serial(self) -> None:
        single = {"query_lanes": 1, "key_lanes": 1, "normalizer_lanes": 1, "kv_banks": 1}
        for field, only in single.items():
            if getattr(self, field) != only:
                raise LatteError(f"{field} = {getattr(self, field)} must be {only} for engine = 'serial'")
        if self.pe_structure != "multiplier":
            raise LatteError("engine = 'serial' needs pe_structure = 'multiplier', which is time-multiplexed")
        for field in ("dim_lanes", "cross_lanes", "value_lanes"):
            # What was read of one slice is written back while the next one is read.
            if self.head_dim % getattr(self, field) or self.head_dim // getattr(self, field) < 2:
                raise LatteError(f"{field} = {getattr(self, field)} must divide head_dim = {self.head_dim} in two or "
                                 "more slices for engine = 'serial'")

    @property
    def pairs_per_cycle(self) -> int:
        """(query, key) pairs in one beat of the estimator."""
        return self.query_lanes * self.key_lanes

    @property
    def dim_slices(self) -> int:
        """Cycles one key group takes in the estimator."""
        return self.head_dim // self.dim_lanes

    @property
    def cross_slices(self) -> int:
        """Cycles one survivor takes in the cross product unit."""
        return ceil_div(self.head_dim, self.cross_lanes)

    @property
    def value_slices(self) -> int:
        """Cycles one survivor takes in the value accumulator."""
        return ceil_div(self.head_dim, self.value_lanes)

    @property
    def est_bits(self) -> int:
        """Signed width of an estimate; also the unsigned width of a relative threshold's code."""
        return 2 * self.estimate_bits + ceil_log2(self.head_dim)

    @property
    def low_bits(self) -> int:
        """Width of an element's low part; also the low bits of a score that are 0."""
        return 8 - self.estimate_bits

    @property
    def estimate_shift(self) -> int:
        """An estimate stands for a score of ``2**estimate_shift`` times as much: 8 with 4-bit halves."""
        return 2 * self.low_bits

    @property
    def qk_max(self) -> int:
        """Largest element of Q or K whose high part still fits: 119, 111 and 95 for estimates of 4, 3 and 2 bits."""
        return 127 - (1 << (7 - self.estimate_bits))

    @property
    def row_bits(self) -> int:
        """Signed width of what waits in the row buffer: an estimate, or the dense baseline's score."""
        return self.score_bits if self.engine == "dense" else self.est_bits

    @property
    def cross_bits(self) -> int:
        """Signed width of the sum of the two cross products."""
        return 9 + ceil_log2(self.head_dim)

    @property
    def score_bits(self) -> int:
        """Signed width of a score."""
        return self.est_bits + self.estimate_shift

    @property
    def sum_bits(self) -> int:
        """Unsigned width of a row's sum of weights."""
        return self.weight_bits + max(1, ceil_log2(self.max_seq_len))

    @property
    def acc_bits(self) -> int:
        """Signed width of one element of a row's weighted sum of values."""
        return self.sum_bits + 8

    @property
    def out_bits(self) -> int:
        """Signed width of one output element."""
        return 8 + self.fraction_bits

    @property
    def group_bits(self) -> int:
        """Comparisons that make a key's group, at most."""
        return ceil_log2(self.key_groups) if self.key_groups else 0

    @property
    def code_octaves(self) -> range:
        """Octaves of a row's length for which an entry of the register file has a code; empty: one code for all.

        A row of one key needs none: its best key survives by any threshold.
        """
        return range(1, self.max_seq_len.bit_length()) if self.threshold_kinds != ("relative",) else range(0)

    @property
    def tau_keep_all(self) -> int:
        """The all-ones ``tau`` code: every key survives."""
        return (1 << self.est_bits) - 1

    def replace(self, **changes: Any) -> "AttentionConfig":
        """Return a copy with some fields changed, validated again."""
        unknown = sorted(set(changes) - {field.name for field in dataclasses.fields(self)})
        if unknown:
            raise LatteError(f"unknown configuration field {unknown[0]!r}")
        return dataclasses.replace(self, **changes)

    def for_head_dim(self, head_dim: int, **changes: Any) -> "AttentionConfig":
        """Return the same arithmetic for another `head_dim`, with lanes that follow it.

        A key and a survivor take as many cycles as before; the serial engine keeps its lanes, and takes more cycles.
        Bits do not depend on the lanes.

        Parameters
        ----------
        head_dim
        **changes
            Fields that do not follow, but are given.

        Raises
        ------
        LatteError
            `head_dim` is out of range or odd, or a given field contradicts it.
        """
        changes["head_dim"] = head_dim
        if head_dim == self.head_dim or not isinstance(head_dim, int) or head_dim < 4 or head_dim % 2:
            return self.replace(**changes)  # nothing to follow, or refused there
        beat = changes.get("bus_bytes", 2)
        if not isinstance(beat, int) or beat < 1:
            return self.replace(**changes)
        even = [lanes for lanes in range(2, head_dim + 1, 2) if head_dim % lanes == 0]
        followed: dict[str, int] = {}
        for field in ("dim_lanes", "cross_lanes", "value_lanes"):
            lanes = getattr(self, field)
            wanted = ceil_div(head_dim, ceil_div(self.head_dim, lanes))
            if self.engine == "serial":
                followed[field] = max(n for n in even if n == 2 or n <= min(lanes, head_dim // 2))
            elif field == "dim_lanes":
                followed[field] = max(n for n in even if n == 2 or n <= wanted)
            else:
                followed[field] = min(head_dim, ceil_div(wanted, beat) * beat)
        followed |= {field: value for field, value in changes.items() if field in followed}
        lanes = [head_dim, *followed.values()]
        followed["bus_bytes"] = _widest(self.bus_bytes, lanes)
        followed["normalizer_lanes"] = _widest(self.normalizer_lanes, [head_dim, followed["value_lanes"]])
        return self.replace(**followed | changes)

    def dense(self) -> "AttentionConfig":
        """Return the dense baseline of the same throughput: as many pairs per cycle, P·V to match."""
        return self.replace(name=f"{self.name}-dense", engine="dense", split="balanced", estimate_bits=4,
                            value_lanes=self.head_dim, cross_lanes=self.head_dim, threshold_kinds=("relative",),
                            key_groups=0)

    def lean(self) -> "AttentionConfig":
        """Return the same build with what the paper has and no more: relative thresholds, no compensation."""
        return self.replace(name=f"{self.name}-lean", threshold_kinds=("relative",), key_groups=0)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for result files: what JSON gives back."""
        return dataclasses.asdict(self) | {"threshold_kinds": list(self.threshold_kinds)}


def _everything(**fields: Any) -> AttentionConfig:
    """Return a preset: every kind of threshold, and as many groups of keys as shipped thresholds use."""
    return AttentionConfig(threshold_kinds=THRESHOLD_KINDS, key_groups=4, **fields)


PRESETS: dict[str, AttentionConfig] = {
    # One time-multiplexed multiplier row: what an iCE40 UP5K holds. 512 keys fill its four single-ported RAMs.
    "tiny": _everything(
        name="tiny", engine="serial", max_seq_len=512, heads=36, query_lanes=1, dim_lanes=8, cross_lanes=2,
        value_lanes=2, normalizer_lanes=1, kv_banks=1, query_rows=8, exp_frac_bits=8, reciprocal_bits=8,
        pe_structure="multiplier"),
    # Two pairs and half a survivor a cycle: 15 % kept loads the cross products and P·V to 60 %, which leaves room for
    # rows that keep many keys.
    "small": _everything(name="small", bus_bytes=8),
    # Four pairs to the same half survivor: for 10 % kept.
    "small_lm": _everything(name="small_lm", key_lanes=2, bus_bytes=8, survivor_fifo_depth=1024),
    # Six pairs and one survivor a cycle: 15 % kept loads the cross products and P·V to 90 %.
    "base": _everything(
        name="base", query_lanes=3, key_lanes=2, cross_lanes=64, value_lanes=64, normalizer_lanes=8,
        bus_bytes=16, survivor_fifo_depth=1024),
    # Eight pairs to the same survivor: for 10 % kept, which loads P·V to 95 %; twice as many rows wait for it.
    "base_lm": _everything(
        name="base_lm", query_lanes=4, key_lanes=2, cross_lanes=64, value_lanes=64, normalizer_lanes=4,
        bus_bytes=16, query_rows=256, survivor_fifo_depth=1024),
}


def preset(name: str, **changes: Any) -> AttentionConfig:
    """Return the named preset, with some fields changed; its lanes follow another `head_dim` unless they are given.

    Raises
    ------
    LatteError
        No such preset or field, or an impossible combination.
    """
    if name not in PRESETS:
        raise LatteError(f"unknown configuration {name!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[name].for_head_dim(**{"head_dim": PRESETS[name].head_dim} | changes)
