"""The head-wise register file as a file: what `latte export` writes, and the hardware's drivers load.

JSON, so that a person can read it: one entry per head with the codes of the registers, the real scales a host needs to
quantise and dequantise, the numeric fields of the configuration, and a CRC-32 of all codes.
"""

import dataclasses
import json
import math
import pathlib
import zlib

import numpy as np

from latte.golden.attention import HeadParameters
from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.pruned_mass import NO_COMPENSATION, Gains

__all__ = ["FORMAT", "NUMERIC_FIELDS", "HeadRegisters", "RegisterImage", "load_register_image", "save_register_image"]

FORMAT = "latte-registers-1"
NUMERIC_FIELDS = ("head_dim", "split", "weight_bits", "exp_frac_bits", "reciprocal_bits", "fraction_bits")
"""Fields of the configuration that decide bits: an image serves only a build that agrees in them."""


@dataclasses.dataclass(frozen=True)
class HeadRegisters:
    """One head's entry.

    Parameters
    ----------
    block, head
    parameters, gains
        Register codes.
    q_scale, k_scale, v_scale
        Real value of one int8 step, for the host.
    """

    block: int
    head: int
    parameters: HeadParameters
    gains: Gains
    q_scale: float
    k_scale: float
    v_scale: float

    def codes(self) -> tuple[int, ...]:
        """Return the register fields in the order of the checksum."""
        return (self.block, self.head, self.parameters.tau, self.parameters.scale_mantissa,
                self.parameters.scale_shift, self.gains.denominator, self.gains.mean)


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
    def encode(cls, model: str, config: AttentionConfig, tau: np.ndarray, scales: tuple[np.ndarray, ...],
               gains: tuple[np.ndarray, np.ndarray] | None) -> "RegisterImage":
        """Encode real parameters.

        Parameters
        ----------
        tau : float64 [blocks, heads]
        scales
            Of Q, K and V, each float64 [blocks, heads].
        gains
            (denominator, mean), each float64 [blocks, heads], or ``None``.
        """
        entries = []
        for block, head in np.ndindex(*tau.shape):
            q, k, v = (float(scale[block, head]) for scale in scales)
            if not all(math.isfinite(scale) and scale > 0 for scale in (q, k, v)):
                raise LatteError(f"head {head} of block {block} has a scale that is not positive and finite")
            codes = Gains.encode(*(float(gain[block, head]) for gain in gains)) if gains else NO_COMPENSATION
            entries.append(HeadRegisters(block, head, HeadParameters.encode(float(tau[block, head]), q, k, config),
                                         codes, q, k, v))
        return cls(model, {name: getattr(config, name) for name in NUMERIC_FIELDS}, tuple(entries))

    @property
    def checksum(self) -> int:
        """CRC-32 of all codes as little-endian 32-bit words."""
        return zlib.crc32(np.array([head.codes() for head in self.heads], "<u4").tobytes())

    def check_fits(self, config: AttentionConfig) -> None:
        """Raise `LatteError` if a build of `config` cannot use the image."""
        for name, value in self.numeric.items():
            if getattr(config, name) != value:
                raise LatteError(f"the register image of {self.model} is made for {name} = {value}, but configuration "
                                 f"{config.name!r} has {getattr(config, name)}; export it again with that value")
        if len(self.heads) > config.heads:
            raise LatteError(f"the register image of {self.model} has {len(self.heads)} heads, but configuration "
                             f"{config.name!r} holds {config.heads}; build with --heads {len(self.heads)}")


_ENTRY = {"block": int, "head": int, "tau": int, "scale_mantissa": int, "scale_shift": int, "denominator_gain": int,
          "mean_gain": int, "q_scale": float, "k_scale": float, "v_scale": float}


def save_register_image(path: str | pathlib.Path, image: RegisterImage) -> None:
    """Write an image, whole or not at all."""
    path = pathlib.Path(path)
    rows = [dict(zip(_ENTRY, (*head.codes(), head.q_scale, head.k_scale, head.v_scale), strict=True))
            for head in image.heads]
    record = {"format": FORMAT, "model": image.model, "config": image.numeric, "crc32": image.checksum, "heads": rows}
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)


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
        heads = tuple(_head(row) for row in record["heads"])
        image = RegisterImage(str(record["model"]), {name: record["config"][name] for name in NUMERIC_FIELDS}, heads)
        checksum = image.checksum
        expected = record["crc32"]
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


def _head(row: dict[str, object]) -> HeadRegisters:
    for name, kind in _ENTRY.items():
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            raise ValueError(f"{name} must be {kind.__name__}, not {row[name]!r}")
    return HeadRegisters(
        row["block"], row["head"], HeadParameters(row["tau"], row["scale_mantissa"], row["scale_shift"]),
        Gains(row["denominator_gain"], row["mean_gain"]), row["q_scale"], row["k_scale"], row["v_scale"])
