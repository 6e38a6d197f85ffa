"""The head-wise register file as a file: what `latte export` writes, and the hardware's drivers load.

JSON, so that a person can read it: one entry per head with the codes of the registers, the real scales a host needs to
quantise and dequantise, the numeric fields of the configuration, and a CRC-32 of all codes.

Every kind of threshold, gains and key groups are part of the image; a build that lacks what an entry needs is refused.
"""

import dataclasses
import json
import math
import pathlib
import zlib
from typing import Any

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig, preset
from latte.golden.errors import LatteError
from latte.golden.key_groups import ONE_GROUP, KeyGroups
from latte.golden.model_thresholds import Thresholds
from latte.golden.pruned_mass import NO_COMPENSATION, Gains
from latte.golden.quantizer import SCALE_MANTISSA_BITS, SCALE_SHIFT_MAX, V_MAX
from latte.golden.results import write_text
from latte.golden.smoothing import smooth_operands
from latte.golden.thresholds import Threshold, ThresholdKind
from latte.golden.vectors import VectorSet

__all__ = ["FORMAT", "NUMERIC_FIELDS", "HeadRegisters", "RegisterImage", "RegisteredVectors", "load_register_image",
           "save_register_image"]

FORMAT = "latte-registers-4"
NUMERIC_FIELDS = ("head_dim", "split", "estimate_bits", "weight_bits", "exp_frac_bits", "reciprocal_bits",
                  "fraction_bits")
"""Fields of the configuration that decide bits: an image serves only a build that agrees in them."""


@dataclasses.dataclass(frozen=True)
class HeadRegisters:
    """One head's entry.

    Parameters
    ----------
    block, head
    parameters
        Register codes: threshold, softmax scale, gains, key groups.
    q_scale, k_scale, v_scale
        Real value of one int8 step, for the host.
    key_offset, channel_scale : float64 [head_dim]
        Of `latte.golden.smoothing`, for the host; ``None`` for both leaves Q and K as they are.
    """

    block: int
    head: int
    parameters: HeadParameters
    q_scale: float
    k_scale: float
    v_scale: float
    key_offset: tuple[float, ...] | None = None
    channel_scale: tuple[float, ...] | None = None

    def codes(self) -> tuple[int, ...]:
        """Return the register fields in the order of the checksum."""
        entry = self.parameters
        return (self.block, self.head, list(ThresholdKind).index(entry.threshold.kind), *entry.threshold.codes,
                entry.scale_mantissa, entry.scale_shift, entry.gains.denominator, entry.gains.mean,
                *entry.groups.elements, *entry.groups.cuts)


@dataclasses.dataclass(frozen=True)
class RegisterImage:
    """All heads of a model.

    Parameters
    ----------
    model
        Short name.
    numeric
        The configuration's `NUMERIC_FIELDS`.
    heads
        In block order; the index is the hardware's head index.
    """

    model: str
    numeric: dict[str, int | str]
    heads: tuple[HeadRegisters, ...]

    @classmethod
    def encode(cls, model: str, config: AttentionConfig, learned: Thresholds) -> "RegisterImage":
        """Encode real parameters.

        Parameters
        ----------
        model
        config
            Its numeric fields; the width of the estimate is that of `learned`.
        learned
            With static scales.

        Raises
        ------
        LatteError
            There are no static scales, or one is not positive and finite.
        """
        if learned.q_scale is None or learned.k_scale is None or learned.v_scale is None:
            raise LatteError(f"the thresholds of {model} have no static scales, which registers need; add them with "
                             "latte calibrate --thresholds FILE")
        config = config.replace(estimate_bits=learned.estimate_bits)
        slopes = np.zeros_like(learned.tau) if learned.tau_per_octave is None else learned.tau_per_octave
        entries = []
        for block, head in np.ndindex(*learned.tau.shape):
            place = block, head
            q, k, v = scales = [float(scale[place]) for scale in (learned.q_scale, learned.k_scale, learned.v_scale)]
            if not all(math.isfinite(scale) and scale > 0 for scale in scales):
                raise LatteError(f"head {head} of block {block} has a scale that is not positive and finite")
            gains, groups = NO_COMPENSATION, ONE_GROUP
            if learned.denominator_gain is not None and learned.mean_gain is not None:
                gains = Gains.encode(float(learned.denominator_gain[place]), float(learned.mean_gain[place]))
            if learned.group_elements is not None and learned.group_cuts is not None:
                groups = KeyGroups.encode(learned.group_elements[place], learned.group_cuts[place], k)
            parameters = HeadParameters.encode(float(learned.tau[place]), q, k, config, kind=learned.kind,
                                               tau_per_octave=float(slopes[place]), gains=gains, groups=groups)
            smooth = [None if values is None else tuple(map(float, values[place]))
                      for values in (learned.key_offset, learned.channel_scale)]
            entries.append(HeadRegisters(block, head, parameters, q, k, v, *smooth))
        return cls(model, {name: getattr(config, name) for name in NUMERIC_FIELDS}, tuple(entries))

    @property
    def checksum(self) -> int:
        """CRC-32 of all codes as little-endian 32-bit words."""
        return zlib.crc32(np.concatenate([head.codes() for head in self.heads]).astype("<i4").tobytes())

    def parameters(self) -> dict[int, HeadParameters]:
        """Return every head's entry by its hardware index."""
        return {index: entry.parameters for index, entry in enumerate(self.heads)}

    def index(self, block: int, head: int) -> int:
        """Return the hardware index of a head.

        Raises
        ------
        LatteError
            The image has none for it.
        """
        for index, entry in enumerate(self.heads):
            if (entry.block, entry.head) == (block, head):
                return index
        raise LatteError(f"the register image of {self.model} has no head {head} of block {block}; export it from "
                         "thresholds of the model that the vectors come from")

    def describes(self, model: str) -> bool:
        """Return whether vectors named `model` are of the image's model: its name, or its name and a suffix."""
        return model == self.model or model.startswith(self.model + "-")

    def check_fits(self, config: AttentionConfig) -> None:
        """Raise `LatteError` if a build of `config` cannot use the image."""
        for name, value in self.numeric.items():
            if getattr(config, name) != value:
                raise LatteError(f"the register image of {self.model} is made for {name} = {value}, but configuration "
                                 f"{config.name!r} has {getattr(config, name)}; export it again for that build")
        if len(self.heads) > config.heads:
            raise LatteError(f"the register image of {self.model} has {len(self.heads)} heads, but configuration "
                             f"{config.name!r} holds {config.heads}; build with --heads {len(self.heads)}")
        for entry in self.heads:
            try:
                entry.parameters.registers(config)
            except LatteError as error:
                raise LatteError(f"the register image of {self.model}, block {entry.block}, head {entry.head}: {error}"
                                 ) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegisteredVectors(VectorSet):
    """Vectors whose heads compute with the entries of a register image, in units of its static scales.

    Parameters
    ----------
    image
    """

    image: RegisterImage = dataclasses.field(kw_only=True)

    @classmethod
    def of(cls, vectors: VectorSet, image: RegisterImage) -> "RegisteredVectors":
        """Return `vectors` as a host that quantises with the image's scales would give them.

        Elements beyond the range of a static scale saturate, as they do there.

        Raises
        ------
        LatteError
            The vectors are of another model, or of a head that the image lacks.
        """
        if not image.describes(vectors.model):
            raise LatteError(f"the register image is of {image.model}, but the vectors are of {vectors.model}; give "
                             "the image or the vectors of one model")
        entries = [image.heads[image.index(int(block), int(head))]
                   for block, head in zip(vectors.block, vectors.head, strict=True)]
        real = {name: getattr(vectors, name) * getattr(vectors, f"{name}_scale").astype(np.float64)[:, None, None]
                for name in "qkv"}
        for h, entry in enumerate(entries):
            if entry.key_offset is not None:
                real["q"][h], real["k"][h] = smooth_operands(
                    real["q"][h], real["k"][h], np.array(entry.key_offset), np.array(entry.channel_scale))
        changed: dict[str, np.ndarray] = {}
        qk_max = preset("small", estimate_bits=image.numeric["estimate_bits"]).qk_max
        for name, limit in (("q", qk_max), ("k", qk_max), ("v", V_MAX)):
            scale = np.array([getattr(entry, f"{name}_scale") for entry in entries], np.float32)
            codes = np.rint(real[name] / scale.astype(np.float64)[:, None, None])
            changed |= {name: np.clip(codes, -limit, limit).astype(np.int8), f"{name}_scale": scale}
        fields = {field.name: getattr(vectors, field.name) for field in dataclasses.fields(VectorSet)}
        return cls(**(fields | changed), image=image)

    def parameters(self, index: int, config: AttentionConfig) -> HeadParameters:
        """Return the image's entry of head `index`, as of `RegisterImage.parameters`."""
        return self.image.parameters()[self.register(index)]

    def register(self, index: int) -> int:
        """Return the hardware index of head `index`."""
        return self.image.index(int(self.block[index]), int(self.head[index]))


_ENTRY = {"block": int, "head": int, "threshold": str, "codes": list, "scale_mantissa": int, "scale_shift": int,
          "denominator_gain": int, "mean_gain": int, "group_elements": list, "group_cuts": list, "q_scale": float,
          "k_scale": float, "v_scale": float, "key_offset": list, "channel_scale": list}


def save_register_image(path: str | pathlib.Path, image: RegisterImage) -> None:
    """Write an image, whole or not at all."""
    rows = []
    for head in image.heads:
        entry = head.parameters
        rows.append(dict(zip(_ENTRY, (
            head.block, head.head, entry.threshold.kind, entry.threshold.codes, entry.scale_mantissa, entry.scale_shift,
            entry.gains.denominator, entry.gains.mean, entry.groups.elements, entry.groups.cuts, head.q_scale,
            head.k_scale, head.v_scale, head.key_offset or (), head.channel_scale or ()), strict=True)))
    record = {"format": FORMAT, "model": image.model, "config": image.numeric, "crc32": image.checksum, "heads": rows}
    write_text(pathlib.Path(path), json.dumps(record, indent=1) + "\n")


def load_register_image(path: str | pathlib.Path) -> RegisterImage:
    """Read an image.

    Raises
    ------
    LatteError
        It cannot be read, has another format, or its checksum does not agree.
    """
    path = pathlib.Path(path)
    try:
        record = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise LatteError(f"{path}: format {record['format']!r} is not {FORMAT!r}; export the image again")
        numeric = {name: record["config"][name] for name in NUMERIC_FIELDS}
        config = preset("small", split=numeric["split"]).for_head_dim(numeric["head_dim"])
        config = config.replace(estimate_bits=numeric["estimate_bits"])
        heads = tuple(_head(row, config) for row in record["heads"])
        image = RegisterImage(str(record["model"]), numeric, heads)
        checksum, expected = image.checksum, record["crc32"]
        if len({(entry.block, entry.head) for entry in heads}) < len(heads):
            raise ValueError("a head has two entries")
    except LatteError:
        raise
    except OSError:
        raise LatteError(f"{path}: no such register image") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LatteError(f"{path}: not a register image ({reason}); make one with latte export") from None
    if checksum != expected:
        raise LatteError(f"{path}: the checksum is {checksum}, not {expected}: the image is damaged; export it again")
    return image


def _head(row: dict[str, Any], config: AttentionConfig) -> HeadRegisters:
    for name, python_type in _ENTRY.items():
        if not isinstance(row[name], python_type) or isinstance(row[name], bool):
            raise ValueError(f"{name} must be {python_type.__name__}, not {row[name]!r}")
    ranges = {"scale_mantissa": (0, (1 << SCALE_MANTISSA_BITS) - 1),
              "scale_shift": (0, SCALE_SHIFT_MAX)}
    for name, (least, most) in ranges.items():
        if not least <= row[name] <= most:
            raise ValueError(f"{name} must lie between {least} and {most}, not {row[name]}")
    for name in ("q_scale", "k_scale", "v_scale"):
        if not (math.isfinite(row[name]) and row[name] > 0):
            raise ValueError(f"{name} must be positive and finite, not {row[name]}")
    for name in ("codes", "group_elements", "group_cuts"):
        if not all(isinstance(code, int) and not isinstance(code, bool) for code in row[name]):
            raise ValueError(f"{name} must be integers, not {row[name]!r}")
    smoothing = [tuple(row[name]) or None for name in ("key_offset", "channel_scale")]
    for name, values in zip(("key_offset", "channel_scale"), smoothing, strict=True):
        if (values is None) != (smoothing[0] is None) or not (values is None or (
                len(values) == config.head_dim and all(isinstance(value, float) and math.isfinite(value)
                                                       and (value > 0 or name == "key_offset") for value in values))):
            raise ValueError(f"{name} must be empty, or {config.head_dim} finite numbers, of channel_scale positive")
    kind = ThresholdKind.parse(row["threshold"])
    least, most = kind.code_range(config)
    if not all(least <= code <= most for code in row["codes"]):
        raise ValueError(f"codes of a threshold of kind {kind} must lie between {least} and {most}, not {row['codes']}")
    if any(element >= config.head_dim for element in row["group_elements"]):
        raise ValueError(f"group_elements must lie below head_dim = {config.head_dim}, not {row['group_elements']}")
    parameters = HeadParameters(
        Threshold(kind, tuple(row["codes"])), row["scale_mantissa"], row["scale_shift"],
        Gains(row["denominator_gain"], row["mean_gain"]),
        KeyGroups(tuple(row["group_elements"]), tuple(row["group_cuts"])))
    return HeadRegisters(row["block"], row["head"], parameters, row["q_scale"], row["k_scale"], row["v_scale"],
                         *smoothing)
