"""Jigsaw puzzles as pre-training (the pretext), and a classifier that begins with their weights (the transfer)."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from trainables.common.seeds import derive_seed
from trainables.data.splits import label_subset
from trainables.data.types import TestData, TuningData
from trainables.hparams import JigsawHparams, TransferHparams
from trainables.models.jigsaw_net import JigsawNet
from trainables.parts.samplers import EpochPlan, plain_plan
from trainables.puzzles import (
    PUZZLE_LOSSES,
    all_permutations,
    assign,
    cut_tiles,
    log_sinkhorn,
    puzzle_metrics,
    random_permutations,
    shuffle_tiles,
)
from trainables.training.build import build_classifier, build_learner_of
from trainables.training.evaluation import judge_classifier, validate_classifier
from trainables.training.learner import EVAL_BATCH_SIZE, Learner, eval_batch_size
from trainables.training.setup import TrialSetup
from trainables.training.task import Task

NUM_SHOWN = 8  # puzzles of the test split that a page shows
CONVOLUTIONS = ("conv1", "conv2", "conv3")
NUM_STATISTICS_IMAGES = 2048  # at most, to re-estimate BatchNorm's statistics from


@dataclass(frozen=True, kw_only=True)
class Puzzles:
    """Turns images into puzzles (as a learner's prepare) and a network's scores into solutions."""

    hparams: JigsawHparams

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns (tiles [B, n, C, s, s] in a new random order, permutations int64[B, n]); labels are not used."""
        tiles = self._tiles(images, generator, cut_at_random=generator, color_jitter=self.hparams.color_jitter)
        return _shuffled(tiles, random_permutations(len(tiles), tiles.shape[1], generator))

    def posed(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Like __call__, for judging: tiles are cut at the centre, colours are unchanged."""
        tiles = self._tiles(images, generator, cut_at_random=None, color_jitter=None)
        return _shuffled(tiles, random_permutations(len(tiles), tiles.shape[1], generator))

    def solved(self, scores: Tensor) -> Tensor:
        """log Y of the scores, float32[B, n, n]."""
        return log_sinkhorn(
            scores, temperature=self.hparams.temperature, num_iterations=self.hparams.sinkhorn_iterations
        )

    def loss(self, scores: Tensor, permutations: Tensor, epoch: int) -> Tensor:
        return PUZZLE_LOSSES[self.hparams.puzzle_loss](self.solved(scores), permutations)

    def _tiles(
        self,
        images: Tensor,
        generator: torch.Generator,
        *,
        cut_at_random: torch.Generator | None,
        color_jitter: float | None,
    ) -> Tensor:
        tiles = cut_tiles(images, grid=self.hparams.grid, gap=self.hparams.gap, generator=cut_at_random)
        if color_jitter is not None:
            tiles = jittered(tiles, color_jitter, generator)
        if self.hparams.tile_normalisation:
            tiles = normalised_tiles(tiles)
        return tiles


@dataclass(frozen=True, kw_only=True)
class FixedPuzzles(Puzzles):
    """Puzzles with one fixed permutation per training image: the image's label is the number of its permutation."""

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        tiles = self._tiles(images, generator, cut_at_random=generator, color_jitter=self.hparams.color_jitter)
        return _shuffled(tiles, all_permutations(tiles.shape[1])[labels.cpu()])


def _shuffled(tiles: Tensor, permutations: Tensor) -> tuple[Tensor, Tensor]:
    permutations = permutations.to(tiles.device)
    return shuffle_tiles(tiles, permutations), permutations


def jittered(tiles: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply each tile's channels by 1 ± strength and add 0 ± strength, so that colour alone tells no neighbours.

    tiles: float[B, n, C, s, s], normalised. Noroozi & Favaro 2016, section 4.2, also jitter the channels.
    """
    drawn = torch.rand(2, *tiles.shape[:3], 1, 1, generator=generator).to(tiles.device)
    gain, shift = (strength * (2 * drawn - 1)).unbind(0)
    return tiles * (1 + gain) + shift


def normalised_tiles(tiles: Tensor) -> Tensor:
    """Normalise each tile's channels to mean 0 and standard deviation 1. tiles: float[B, n, C, s, s]."""
    deviation, mean = torch.std_mean(tiles, dim=(3, 4), keepdim=True, correction=0)
    return (tiles - mean) / deviation.clamp_min(1e-3)  # the deviation of a tile of one colour is 0


def build_pretext(hparams: JigsawHparams, data: TuningData, setup: TrialSetup) -> Learner:
    """Build a learner of puzzles. It uses the images of the training set and no label."""
    return puzzle_learner(Puzzles(hparams=hparams), data, setup)


def puzzle_learner(puzzles: Puzzles, data: TuningData, setup: TrialSetup) -> Learner:
    """Build a learner of the given puzzles."""
    hparams = puzzles.hparams
    return build_learner_of(
        lambda in_channels, image_size: JigsawNet(grid=hparams.grid, in_channels=in_channels, image_size=image_size),
        hparams,
        data,
        setup,
        loss=puzzles.loss,
        prepare=puzzles,
    )


def validate_puzzles(learner: Learner, data: TuningData) -> dict[str, float]:
    """puzzle_metrics and loss on one puzzle per validation image; the puzzles are the same in every trial."""
    indices = torch.from_numpy(data.val_indices.copy())
    log_y, permutations = _solved(learner, learner.batches.images[indices.to(learner.device)])
    return _judged(learner, log_y, permutations)


def judge_puzzles(learner: Learner, data: TuningData, test: TestData) -> dict[str, Any]:
    """puzzle_metrics and loss on one puzzle per test image, and some of these puzzles to look at."""
    images = torch.from_numpy(test.images.copy())
    log_y, permutations = _solved(learner, images)
    judged = _judged_on_test(learner, log_y, permutations)
    shown = torch.linspace(0, len(images) - 1, min(NUM_SHOWN, len(images))).long()
    puzzles = [
        {
            "number": number,
            "image_png": base64.b64encode(_png(images[number])).decode(),
            "grid": _puzzles(learner).hparams.grid,
            "permutation": permutations[number].tolist(),
            "predicted": assign(log_y[number][None])[0].tolist(),
            "sinkhorn": log_y[number].exp().tolist(),
        }
        for number in shown.tolist()
    ]
    return {**judged, "puzzles": puzzles}


def follow_puzzles(learner: Learner, data: TuningData, test: TestData) -> dict[str, float]:
    """The metrics of judge_puzzles on the test images, without the pictures."""
    return _judged_on_test(learner, *_solved(learner, torch.from_numpy(test.images.copy())))


def _judged_on_test(learner: Learner, log_y: Tensor, permutations: Tensor) -> dict[str, float]:
    return {f"test_{name}": value for name, value in _judged(learner, log_y, permutations).items()}


def passes_per_epoch(label_fraction: float) -> int:
    """The number of passes over the labelled images in an epoch of the transfer: about 1 / √fraction.

    Thus a small share of the labels is trained on for long enough, and still costs less than all of them.
    """
    return max(1, round(label_fraction**-0.5))


def build_transfer(hparams: TransferHparams, data: TuningData, setup: TrialSetup) -> Learner:
    """Build a classifier on label_fraction of the labels. Raises ValueError if a class would have no image left."""
    indices = label_subset(data, hparams.label_fraction)

    def plan(epoch: int, generator: torch.Generator) -> EpochPlan:
        passes = [
            torch.randperm(len(indices), generator=generator) for _ in range(passes_per_epoch(hparams.label_fraction))
        ]
        return plain_plan(torch.cat(passes), hparams.batch_size)

    ratio = hparams.trunk_learning_rate_ratio
    return build_classifier(
        hparams,
        data,
        setup,
        train_indices=indices,
        plan=plan,
        lr_scales=dict.fromkeys(trunk_layers(hparams), ratio) if ratio is not None else None,
    )


def trunk_layers(hparams: TransferHparams) -> tuple[str, ...]:
    """The layers that a classifier takes over from the puzzles and that use the trunk's learning rate."""
    return (*CONVOLUTIONS, "fc1") if hparams.carries_fc1 else CONVOLUTIONS


def begin_with_trunk(learner: Learner, state: Mapping[str, Any], hparams: TransferHparams) -> None:
    """Load the trunk from a pretext's checkpoint. See carry_over."""
    carry_over(learner, state, trunk_layers(hparams))


def carry_over(learner: Learner, state: Mapping[str, Any], layers: Sequence[str]) -> None:
    """Load these layers from a pretext's checkpoint, then re-estimate BatchNorm's statistics.

    BatchNorm's weights and the head stay fresh, as in the source system. Raises ValueError, naming the layers that
    differ, if the checkpoint is of another architecture.
    """
    model, weights = learner.model, state["model"]
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name.partition(".")[0] in layers}
    differing = [
        f"{name} is {_shape(weights.get(name))} and must be {_shape(tensor)}"
        for name, tensor in wanted.items()
        if weights.get(name) is None or weights[name].shape != tensor.shape
    ]
    if differing:
        raise ValueError(f"the pretext's checkpoint is of another architecture: {'; '.join(differing)}")
    model.load_state_dict({name: weights[name] for name in wanted}, strict=False)
    _estimate_statistics(learner, model)


def _estimate_statistics(learner: Learner, model: nn.Module) -> None:
    indices = learner.batches.train_indices
    stride = math.ceil(len(indices) / NUM_STATISTICS_IMAGES)
    images = learner.batches.images[indices[::stride].to(learner.device)]
    with torch.no_grad():
        update_bn([learner.batches.normalised(part) for part in images.split(eval_batch_size(images))], model)


def tiles_in_place(learner: Learner, images: Tensor) -> tuple[Tensor, int]:
    """The images' tiles, each in its true place, and the number of tiles per side."""
    puzzles = _puzzles(learner)
    tiles, permutations = puzzles.posed(learner.batches.normalised(images), torch.Generator().manual_seed(0))
    return shuffle_tiles(tiles, permutations.argsort(dim=1)), puzzles.hparams.grid


def _puzzles(learner: Learner) -> Puzzles:
    assert isinstance(learner.batches.prepare, Puzzles)
    return learner.batches.prepare


def _solved(learner: Learner, images: Tensor) -> tuple[Tensor, Tensor]:
    """Solve one puzzle per image, uint8[B, H, W, C]. Returns (log Y, permutations) on the CPU."""
    puzzles = _puzzles(learner)
    generator = torch.Generator().manual_seed(derive_seed(0, "posed puzzles"))
    parts = []
    for part in images.split(EVAL_BATCH_SIZE):  # of any size: which puzzles are drawn hangs on it
        tiles, permutations = puzzles.posed(learner.batches.normalised(part.to(learner.device)), generator)
        outputs = torch.cat([learner.infer(few) for few in tiles.split(eval_batch_size(images))])
        parts.append((puzzles.solved(outputs).cpu(), permutations.cpu()))
    return torch.cat([log_y for log_y, _ in parts]), torch.cat([permutations for _, permutations in parts])


def _judged(learner: Learner, log_y: Tensor, permutations: Tensor) -> dict[str, float]:
    loss = PUZZLE_LOSSES[_puzzles(learner).hparams.puzzle_loss](log_y, permutations)
    return {**puzzle_metrics(log_y, permutations), "loss": float(loss)}


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))


def _png(image: Tensor) -> bytes:
    """The image, uint8[H, W, C], as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(2).numpy() if image.shape[2] == 1 else image.numpy()).save(buffer, format="PNG")
    return buffer.getvalue()


PRETEXT_TASK = Task(
    name="pretext",
    hparams=JigsawHparams,
    build_learner=build_pretext,
    validate=validate_puzzles,
    test=judge_puzzles,
    metric="val_exact_accuracy",
    mode="max",
    score="test_exact_accuracy",
    is_classifier=False,
    model_inputs=tiles_in_place,
)

TRANSFER = Task(
    name="transfer",
    hparams=TransferHparams,
    build_learner=build_transfer,
    validate=validate_classifier,
    test=judge_classifier,
    metric="val_accuracy",
    mode="max",
    score="test_accuracy",
    warm_start=begin_with_trunk,
)
