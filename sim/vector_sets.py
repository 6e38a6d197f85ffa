"""The heads a command works on: vector files or the embedded ones, with a register image if one is given."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import click

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.register_image import RegisteredVectors, RegisterImage, load_register_image
from latte.golden.vectors import VectorSet, embedded_vectors, load_vectors

__all__ = ["gather_vectors", "open_registers", "registers_note", "vector_options"]


def vector_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--vectors`` (as `files`) and ``--registers`` (as `registers`)."""
    kind = click.Path(path_type=pathlib.Path)
    command = click.option("--registers", type=kind, metavar="IMAGE.json",
                           help="Load the register file from this image of latte export: its thresholds and softmax "
                                "scales serve, and the vectors are requantised to its static scales.")(command)
    return click.option("--vectors", "files", multiple=True, type=kind,
                        help="Vector file (.npz); repeatable. Default: the embedded ones.")(command)


def open_registers(path: pathlib.Path | None, config: AttentionConfig) -> RegisterImage | None:
    """Read a register image and check that a build of `config` can use it.

    Raises
    ------
    LatteError
        It cannot be read, is damaged, or is made for another configuration.
    """
    if path is None:
        return None
    image = load_register_image(path)
    try:
        image.check_fits(config)
    except LatteError as error:
        raise LatteError(f"{path}: {error}") from None
    return image


def gather_vectors(files: Sequence[pathlib.Path], image: RegisterImage | None,
                   config: AttentionConfig) -> list[VectorSet]:
    """Return the sets of some files; without files the embedded ones, of the image's model if there is an image.

    Raises
    ------
    LatteError
        A set cannot be read, a build of `config` cannot hold it, or the image does not cover it.
    """
    sets = [load_vectors(path) for path in files] if files else list(embedded_vectors())
    if image is not None and not files:
        sets = [vectors for vectors in sets if image.describes(vectors.model)]
    if not sets:
        of_model = "" if image is None else f" of {image.model}"
        raise LatteError(f"this installation has no embedded vectors{of_model}; give some with --vectors FILE.npz")
    gathered = []
    for i, vectors in enumerate(sets):
        try:
            vectors.check_fits(config)
            gathered.append(vectors if image is None else RegisteredVectors.of(vectors, image))
        except LatteError as error:
            raise LatteError(f"{files[i]}: {error}" if files else f"embedded {vectors.model}: {error}") from None
    return gathered


def registers_note(path: pathlib.Path | None, image: RegisterImage) -> str:
    """Return what a person should know about a run with a register image."""
    note = (f"registers of {len(image.heads)} heads from {path} (CRC-32 {image.checksum:#010x}); vectors requantised "
            "to its scales")
    if image.compensated:
        note += ("; its gains are left out: the RTL has no compensation of pruned keys yet, so outputs are those of "
                 "the golden model without it")
    return note
