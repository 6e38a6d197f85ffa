"""Threshold training (LATTE section III-B): frozen backbone, one threshold and two gains per head, three-part loss."""

import dataclasses

import numpy as np
import torch

from latte.golden.config import AttentionConfig
from latte.golden.errors import LatteError
from latte.golden.model_thresholds import Thresholds
from latte.golden.models.checkpoint import Checkpoint
from latte.golden.models.hook import float_handler
from latte.golden.train.data import Dataset
from latte.golden.train.passes import forward
from latte.golden.train.surrogate import SoftAttention

__all__ = ["Recipe", "Trainer", "batch_indices", "task_loss"]

AVERAGING = 0.8
"""Of the running average of the pruning ratio, per step: L_prune must not follow the noise of one batch."""
TEACHER_GROUP = 16


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run beside model and data.

    Parameters
    ----------
    target
        Share of visible pairs to prune, in (0, 1).
    steps, batch
    alpha, beta, kappa
        Weights of L_pred (cross entropy), L_prune (squared distance of the soft pruning ratio to the target) and L_KD
        (Kullback-Leibler divergence from the float model). A large `beta` lets the noise of a batch's ratio, common to
        all heads, drown what tells them apart; with a small one the ratio settles a little below the target, which
        `latte.golden.train.calibrate.fit_to_target` then meets with one common factor.
    tau_rate, gain_rate
        Adam step sizes, falling to a tenth along a cosine.
    temperature, last_temperature
        Of the soft filter, falling geometrically.
    seed
        Of the order of the items.
    """

    target: float
    steps: int = 60
    batch: int = 16
    alpha: float = 0.1
    beta: float = 50.0
    kappa: float = 1.0
    tau_rate: float = 0.08
    gain_rate: float = 0.04
    temperature: float = 0.1
    last_temperature: float = 0.03
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise LatteError(f"the pruning target must lie between 0 and 1, not {self.target}")
        if self.steps < 1 or self.batch < 1:
            raise LatteError(f"steps = {self.steps} and batch = {self.batch} must be at least 1")


def batch_indices(step: int, seed: int, items: int, batch: int) -> np.ndarray:
    """Return the items of one step: consecutive slices of one random permutation per epoch, int64 [<= batch]."""
    batch = min(batch, items)
    per_epoch = items // batch
    order = np.random.default_rng([seed, step // per_epoch]).permutation(items)
    start = step % per_epoch * batch
    return order[start:start + batch]


def task_loss(logits: torch.Tensor, labels: torch.Tensor, causal: bool) -> torch.Tensor:
    """Return the mean cross entropy: of the class, or of every next token."""
    if causal:
        logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(logits, labels)


class Trainer:
    """A run in progress, whose state can be saved and restored at any step.

    Parameters
    ----------
    checkpoint
        Its weights are frozen.
    data
        Training items.
    start
        Thresholds of step 0.
    recipe, config
    """

    def __init__(self, checkpoint: Checkpoint, data: Dataset, start: Thresholds, recipe: Recipe,
                 config: AttentionConfig) -> None:
        self.checkpoint, self.data, self.recipe, self.config = checkpoint, data, recipe, config
        checkpoint.model.requires_grad_(False)
        self.attention = SoftAttention(start, config).to(checkpoint.model.device)
        gains = [self.attention.denominator_gain, self.attention.mean_share]
        groups = [{"params": [self.attention.tau], "lr": recipe.tau_rate},
                  {"params": [gain for gain in gains if gain.requires_grad], "lr": recipe.gain_rate}]
        self.optimizer = torch.optim.Adam([group for group in groups if group["params"]], betas=(0.9, 0.95))
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.step = 0
        self.average = recipe.target
        self.history: list[dict[str, float]] = []
        self._teacher: dict[tuple[int, bool], torch.Tensor] = {}

    def fingerprint(self) -> dict[str, object]:
        """Return what must agree between a run and its continuation."""
        start = self.attention.start
        return dataclasses.asdict(self.recipe) | {
            "threshold": str(start.kind), "estimate_bits": start.estimate_bits, "groups": start.groups,
            "smoothed": start.key_offset is not None, "scales": "dynamic" if start.q_scale is None else "static",
            "items": len(self.data), "split": self.config.split}

    def advance(self) -> dict[str, float]:
        """Take one step, and return its losses and soft pruning ratio."""
        recipe, causal = self.recipe, self.checkpoint.causal
        share = self.step / recipe.steps
        self.attention.temperature = recipe.temperature * (recipe.last_temperature / recipe.temperature) ** share
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * (0.1 + 0.45 * (1 + np.cos(np.pi * share)))
        indices = batch_indices(self.step, recipe.seed, len(self.data), recipe.batch)
        mirrored = not causal and bool(np.random.default_rng([recipe.seed, self.step, 1]).integers(2))
        inputs, labels = self._batch(indices, mirrored)
        teacher = self._teach(indices, mirrored)
        logits = forward(self.checkpoint, self.attention, inputs)
        pruned = self.attention.take_pruned()
        self.average = AVERAGING * self.average + (1 - AVERAGING) * pruned.item()
        prediction = task_loss(logits, torch.from_numpy(labels).to(logits.device), causal)
        distillation = torch.nn.functional.kl_div(
            logits.log_softmax(-1).flatten(0, -2), teacher.log_softmax(-1).flatten(0, -2), reduction="batchmean",
            log_target=True)
        distance = self.average - recipe.target
        prune = distance**2 + 2 * distance * (pruned - pruned.detach())
        loss = recipe.alpha * prediction + recipe.beta * prune + recipe.kappa * distillation
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.attention.project()
        self.step += 1
        entry = {"step": self.step, "loss": loss.item(), "prediction": prediction.item(),
                 "distillation": distillation.item(), "pruned": pruned.item()}
        self.history.append(entry)
        return entry

    def _batch(self, indices: np.ndarray, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
        inputs, labels = self.data.batch(indices)
        return inputs[..., ::-1] if mirrored else inputs, labels

    @torch.no_grad()
    def _teach(self, indices: np.ndarray, mirrored: bool) -> torch.Tensor:
        """Return the float model's logits; an image classifier's few are kept for the next epoch.

        They are computed for fixed groups of items, so that a resumed run gets the same bits.
        """
        def teacher(items: np.ndarray) -> torch.Tensor:
            return forward(self.checkpoint, float_handler, self._batch(items, mirrored)[0])

        if self.checkpoint.causal:
            return teacher(indices)
        for group in sorted({int(index) // TEACHER_GROUP * TEACHER_GROUP for index in indices}):
            if (group, mirrored) not in self._teacher:
                items = np.arange(group, min(group + TEACHER_GROUP, len(self.data)))
                self._teacher |= {(int(item), mirrored): logits
                                  for item, logits in zip(items, teacher(items), strict=True)}
        return torch.stack([self._teacher[int(index), mirrored] for index in indices])
