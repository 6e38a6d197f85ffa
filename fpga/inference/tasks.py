"""What a whole model is asked to do: classify images, or go on with a text."""

import pathlib
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from latte.golden.console import create_table
from latte.golden.errors import LatteError
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.hook import Handler
from latte.golden.models.inference import class_names, classify, encode_prompt, generate
from latte.golden.models.inputs import find_images, load_image

__all__ = ["Classification", "Generation", "Task", "create_task"]

_BEST = 5
"""Classes that are printed."""


class Task(Protocol):
    """Work for one model.

    Attributes
    ----------
    figure : str
        Its name in the result file.
    length : int
        Tokens of its longest sequence.
    passes : int
        Forward passes, at most.
    """

    figure: str
    length: int
    passes: int

    def run(self, handler: Handler) -> Any:
        """Return the answer with `handler` for every attention."""

    def decisions(self, answer: Any) -> list[int]:
        """Return the class of each image, or the tokens."""

    def details(self, answer: Any) -> dict[str, Any]:
        """Return fields for the result file."""

    def show(self, console: Console, answer: Any) -> None:
        """Print the answer."""


class Classification:
    """Classify images, one after the other.

    Parameters
    ----------
    checkpoint
        Of an image classifier.
    source
        Image file or folder.

    Raises
    ------
    LatteError
        The model is none for images, or an image cannot be read.
    """

    figure = "top1"

    def __init__(self, checkpoint: Checkpoint, source: pathlib.Path) -> None:
        if checkpoint.causal:
            raise LatteError(f"{checkpoint.name} is a language model: give its input with --prompt TEXT")
        self.paths = find_images(source).paths
        self.length, self.passes = checkpoint.image_tokens, len(self.paths)
        self._checkpoint = checkpoint
        self._names = class_names(checkpoint)
        self._pixels = [load_image(path, checkpoint.preprocess) for path in self.paths]

    def run(self, handler: Handler) -> list[np.ndarray]:
        """Return the probabilities of each image's classes."""
        return [classify(self._checkpoint, pixels, handler) for pixels in self._pixels]

    def decisions(self, answer: list[np.ndarray]) -> list[int]:
        """Return the most probable class of each image."""
        return [int(probability.argmax()) for probability in answer]

    def details(self, answer: list[np.ndarray]) -> dict[str, Any]:
        """Return the best classes of each image."""
        return {"images": [{"image": str(path), "best": [
            {"class": index, "name": self._names.get(index), "probability": float(probability[index])}
            for index in _best(probability)]} for path, probability in zip(self.paths, answer, strict=True)]}

    def show(self, console: Console, answer: list[np.ndarray]) -> None:
        """Print a table of the best classes for each image."""
        for path, probability in zip(self.paths, answer, strict=True):
            table = create_table("class", "name", "probability", title=path.name, left=["name"])
            for index in _best(probability):
                table.add_row(str(index), self._names.get(index, ""), f"{probability[index]:.2%}")
            console.print(table)


class Generation:
    """Go on with a prompt, greedily.

    Parameters
    ----------
    checkpoint
        Of a language model.
    prompt
    tokens
        To generate, if the model does not end its text before.

    Raises
    ------
    LatteError
        The model is none for texts, or the prompt is empty or too long.
    """

    figure = "tokens"

    def __init__(self, checkpoint: Checkpoint, prompt: str, tokens: int) -> None:
        if not checkpoint.causal:
            raise LatteError(f"{checkpoint.name} is an image model: give its input with --images FILE")
        self._checkpoint = checkpoint
        self._prompt = encode_prompt(checkpoint, prompt, tokens)
        self.length, self.passes = len(self._prompt) + tokens, tokens

    def run(self, handler: Handler) -> list[int]:
        """Return the tokens."""
        return list(generate(self._checkpoint, self._prompt, self.passes, handler))

    def decisions(self, answer: list[int]) -> list[int]:
        """Return the tokens."""
        return answer

    def details(self, answer: list[int]) -> dict[str, Any]:
        """Return tokens and text."""
        return {"prompt_tokens": self._prompt.tolist(), "tokens": answer, "text": self._text(answer)}

    def show(self, console: Console, answer: list[int]) -> None:
        """Print prompt and continuation."""
        console.print(self._text(answer), soft_wrap=True)

    def _text(self, answer: list[int]) -> str:
        return self._checkpoint.tokenizer.decode([*self._prompt.tolist(), *answer])


def create_task(checkpoint: Checkpoint, images: pathlib.Path | None, prompt: str | None, tokens: int) -> Task:
    """Return the task that a user's input asks for: one of `images` and `prompt` is given."""
    if images is not None:
        return Classification(checkpoint, images)
    return Generation(checkpoint, prompt or "", tokens)


def _best(probability: np.ndarray) -> list[int]:
    """Return the most probable classes, the best first."""
    return np.argsort(-probability, kind="stable")[:_BEST].tolist()
