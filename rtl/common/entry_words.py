"""An entry of the register file as it is written and stored: words of 16 bits, one after the other."""

from collections.abc import Iterator

from amaranth import signed
from amaranth.hdl import Shape
from amaranth.lib import data

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig, ceil_log2
from latte.golden.jobs import COUNT_BITS
from latte.golden.key_groups import GROUP_BITS_MAX
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_BITS
from latte.golden.thresholds import ThresholdKind

__all__ = ["ENTRY_WORDS_MAX", "ENTRY_WORD_BITS", "GAIN_BITS", "KIND_BITS", "entry_words", "pack_entry",
           "parameter_layout"]

ENTRY_WORD_BITS = 16
ENTRY_WORDS_MAX = 32
"""A host may give each head so many addresses."""
GAIN_BITS = 8
KIND_BITS = ceil_log2(len(ThresholdKind))


def entry_words(config: AttentionConfig) -> dict[str, data.StructLayout]:
    """Return the words of an entry by name, in the order in which they are written.

    ``control``: how far the scale shifts; the kind of threshold by its place in `ThresholdKind`; comparisons that make
    a key's group. ``scale``: the softmax scale's mantissa. ``gains``: of the pruned mass. ``group_*``: one comparison
    each, by element and cut; 0 if it is not used. ``tau``, or ``code_*``: codes of the threshold, of rows of ``2**o``
    to ``2**(o + 1) - 1`` keys; a signed one is extended to the word.
    """
    words: dict[str, dict[str, Shape | int]] = {
        "control": {"scale_shift": SCALE_SHIFT_BITS, "kind": KIND_BITS, "group_bits": ceil_log2(GROUP_BITS_MAX + 1)},
        "scale": {"scale_mantissa": SCALE_MANTISSA_BITS}}
    if config.key_groups:
        words["gains"] = {"denominator_gain": GAIN_BITS, "mean_gain": GAIN_BITS}
    for bit in range(config.group_bits):
        words[f"group_{bit}"] = {f"element_{bit}": 8, f"cut_{bit}": signed(8)}
    for name in [f"code_{octave}" for octave in config.code_octaves] or ["tau"]:
        words[name] = {name: ENTRY_WORD_BITS}
    return {name: data.StructLayout(fields) for name, fields in words.items()}


def parameter_layout() -> data.StructLayout:
    """Write of one word of a register file entry: word `word` of `entry_words` of `head`."""
    return data.StructLayout({"head": COUNT_BITS, "word": ceil_log2(ENTRY_WORDS_MAX), "data": ENTRY_WORD_BITS})


def pack_entry(head: int, entry: HeadParameters, config: AttentionConfig) -> Iterator[dict[str, int]]:
    """Yield the writes of an entry, fields of `parameter_layout`, in order.

    Raises
    ------
    LatteError
        A build of `config` lacks what the entry needs.
    """
    fields = entry.registers(config)
    for index, layout in enumerate(entry_words(config).values()):
        word = 0
        for name, field in layout:
            word |= (fields[str(name)] & ((1 << field.width) - 1)) << field.offset
        yield {"head": head, "word": index, "data": word}
