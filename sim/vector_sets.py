"""The heads a command works on: vector files or the embedded ones, with a register image if one is given."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import numpy as np

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.register_image import RegisteredVectors, RegisterImage, load_register_image
from latte.golden.requantise import prune_as_learned
from latte.golden.train.threshold_files import read_thresholds, shipped_thresholds
from latte.golden.vectors import VectorSet, embedded_vectors, load_vectors

__all__ = ["as_learned", "embedded_that_fit", "gather_vectors", "open_registers", "registers_note", "vector_options"]

BEST = "best_90"
"""Shipped thresholds as which embedded heads are pruned, beside their own."""


def vector_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--vectors`` (as `files`), ``--registers`` (as `registers`) and ``--sample`` (as `sample`)."""
    kind = click.Path(path_type=pathlib.Path)
    command = click.option("--sample", type=click.IntRange(1), metavar="N",
                           help="Only so many heads of each set, spread evenly. Default: all.")(command)
    command = click.option("--registers", type=kind, metavar="IMAGE.json",
                           help="Load the register file from this image of latte export: its thresholds and softmax "
                                "scales serve, and the vectors are requantised to its static scales.")(command)
    return click.option("--vectors", "files", multiple=True, type=kind,
                        help="Vector file (.npz); repeatable. Default: the embedded ones that fit.")(command)


def open_registers(path: pathlib.Path | None, config: AttentionConfig) -> RegisterImage | None:
    """Read a register image and check that a build of `config` can use it.

    Raises
    ------
    LatteError
        It cannot be read, is damaged, is made for another configuration, or has entries that the hardware lacks.
    """
    if path is None:
        return None
    image = load_register_image(path)
    try:
        image.check_fits(config)
    except LatteError as error:
        raise LatteError(f"{path}: {error}") from None
    return image


def gather_vectors(files: Sequence[pathlib.Path], image: RegisterImage | None, config: AttentionConfig,
                   sample: int | None = None) -> tuple[list[VectorSet], list[str]]:
    """Return the sets of some files; without files the embedded ones that a build holds.

    Parameters
    ----------
    files
        Each must fit.
    image
        The embedded sets are then those of its model.
    config
    sample
        Most heads of each set; None: all.

    Returns
    -------
    sets : list of VectorSet
    left_out : list of str
        One line for each embedded set that the build cannot hold, and for each of which not all heads are taken.

    Raises
    ------
    LatteError
        A file cannot be read, a build of `config` cannot hold it or its thresholds, no embedded set fits, or the image
        does not cover a set.
    """
    gathered: list[VectorSet] = []
    left_out: list[str] = []
    if not files:
        sets, left_out = embedded_that_fit(config, image)
        gathered = [_registered(vectors, image, f"embedded {vectors.model}") for vectors in sets]
    for path in files:
        vectors = load_vectors(path)
        try:
            vectors.check_fits(config)
            if image is None:
                _check_registers(vectors, config)
        except LatteError as error:
            raise LatteError(f"{path}: {error}") from None
        gathered.append(_registered(vectors, image, str(path)))
    if sample is None:
        return gathered, left_out
    left_out += [f"{vectors.model}: {len(vectors) - sample} of {len(vectors)} heads, with --sample {sample}"
                 for vectors in gathered if len(vectors) > sample]
    return [_spread(vectors, sample) for vectors in gathered], left_out


def _spread(vectors: VectorSet, count: int) -> VectorSet:
    """Return so many heads of a set, from its first to its last; all if it has no more."""
    heads = np.linspace(0, len(vectors) - 1, min(count, len(vectors))).astype(int)
    return vectors.select(heads.tolist())


def embedded_that_fit(config: AttentionConfig, image: RegisterImage | None = None) -> tuple[list[VectorSet], list[str]]:
    """Return the embedded sets, of the image's model if there is one, that a build holds, and why others are left out.

    Without an image, every set comes once with its own relative thresholds and once as the `BEST` shipped thresholds of
    its model prune it, compensated.

    Raises
    ------
    LatteError
        None fits.
    """
    if image is None:
        sets = [version for vectors in embedded_vectors() for version in (vectors, *as_learned(vectors))]
    else:
        sets = [vectors for vectors in embedded_vectors() if vectors.of_model(image.model)]
    if not sets:
        of_model = "" if image is None else f" of {image.model}"
        raise LatteError(f"this installation has no embedded vectors{of_model}; give some with --vectors FILE.npz")
    fitting, left_out = [], []
    for vectors in sets:
        try:
            vectors.check_fits(config)
            if image is None:
                _check_registers(vectors, config)
            fitting.append(vectors)
        except LatteError as error:
            left_out.append(f"embedded {vectors.model}, {len(vectors)} heads: {error}")
    if not fitting:
        raise LatteError(f"no embedded vectors fit: {left_out[0]}; or give others with --vectors FILE.npz")
    return fitting, left_out


def as_learned(vectors: VectorSet) -> Iterator[VectorSet]:
    """Yield the set as the shipped thresholds `BEST` of its very model prune it, if there are any."""
    for name in shipped_thresholds():
        if name.endswith(f"/{BEST}"):
            model, learned = read_thresholds(name)
            if vectors.model == model:
                yield prune_as_learned(vectors, model, BEST, learned)


def _check_registers(vectors: VectorSet, config: AttentionConfig) -> None:
    """Raise `LatteError` if a build lacks what a head's entry needs."""
    for h in range(len(vectors)):
        vectors.parameters(h, config).registers(config)


def _registered(vectors: VectorSet, image: RegisterImage | None, what: str) -> VectorSet:
    """Return the vectors as an image sees them, or as they are."""
    try:
        return vectors if image is None else RegisteredVectors.of(vectors, image)
    except LatteError as error:
        raise LatteError(f"{what}: {error}") from None


def registers_note(path: pathlib.Path | None, image: RegisterImage) -> str:
    """Return what a person should know about a run with a register image."""
    return (f"registers of {len(image.heads)} heads from {path} (CRC-32 {image.checksum:#010x}); vectors requantised "
            "to its scales")
