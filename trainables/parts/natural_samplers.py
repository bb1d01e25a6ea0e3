"""Samplers of the recipes: an epoch is as long as in the source system, with all that it copies or over-samples."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.data.augmentation import VIEWS
from trainables.parts.class_weights import tail_classes
from trainables.parts.samplers import (
    SAMPLERS,
    Epoch,
    EpochPlan,
    Sampler,
    augmented,
    batch_sizes_of,
    copied,
    full_and_cut_batches,
    oversampled,
    plain_plan,
    shuffled,
    views_plan,
)


def copy_all(epoch: Epoch) -> EpochPlan:
    """The sampler of `s1_step_copy`: the whole copied set, in random order. See samplers.copied."""
    return plain_plan(shuffled(copied(epoch), epoch.generator), epoch.batch_size)


def augment_all(epoch: Epoch) -> EpochPlan:
    """The sampler of `s1_step_aug`: the whole augmented set, in random order. See samplers.augmented.

    The photometric factors are drawn anew in each epoch, whereas the source made its set once.
    """
    views = list(VIEWS)
    if not epoch.knobs["vertical_flip"]:
        views[views.index("vertical_flip")] = "brightness"  # so that the number of images is the same
    pairs = augmented(epoch, views=views, doubles_tail=epoch.knobs["doubles_tail"])
    return views_plan(shuffled(pairs, epoch.generator), epoch)


def mask_in_loop(epoch: Epoch) -> EpochPlan:
    """The sampler of `s0_flag_*`: shuffled batches, each full with probability full_batch_share, else cut.

    A cut batch leaves out the images of tail classes, and its loss is scaled by cut_loss_scale. The mask is drawn anew
    in each epoch, so that over the epochs the tail images are all seen.
    """
    return _concatenated(_masked_batches(epoch))


def mask_in_loop_oversample(epoch: Epoch) -> EpochPlan:
    """The sampler of `s0_flag_oversample` as its report describes it: the over-sampled set is trained on.

    Cut batches are recorded; a full batch is merged with those recorded since the last full one, the tail classes are
    over-sampled (samplers.oversampled), and the result is trained on in batches of batch_size. The source's program
    trained on the full batch instead, as mask_in_loop does.
    """
    return _concatenated(_merged(_masked_batches(epoch), epoch))


def flag_oversample(epoch: Epoch) -> EpochPlan:
    """mask_in_loop_oversample on data thinned once, with all tail images in full batches: see full_and_cut_batches."""
    batches = full_and_cut_batches(epoch.labels, epoch.class_counts, epoch.batch_size, epoch.generator)
    cut_loss_scale = epoch.knobs["cut_loss_scale"]
    return _concatenated(_merged([(part, 1.0 if full else cut_loss_scale, full) for part, full in batches], epoch))


_MASK_KNOBS = ("full_batch_share", "cut_loss_scale")
NATURAL_SAMPLERS: dict[str, Sampler] = {
    **SAMPLERS,
    "copy_all": Sampler(function=copy_all),
    "augment_all": Sampler(function=augment_all, needs=("photometric_strength", "vertical_flip", "doubles_tail")),
    "mask_in_loop": Sampler(function=mask_in_loop, needs=_MASK_KNOBS),
    "mask_in_loop_oversample": Sampler(function=mask_in_loop_oversample, needs=_MASK_KNOBS),
    "flag_oversample": Sampler(function=flag_oversample, needs=("cut_loss_scale",)),
}

_Batch = tuple[Tensor, float, bool]
"""(positions, loss scale, is it full)."""


def _masked_batches(epoch: Epoch) -> list[_Batch]:
    """The full batches, and the cut ones with at least two images left; at least one batch is full."""
    is_tail = tail_classes(epoch.class_counts)[epoch.labels]
    order = shuffled(torch.arange(len(epoch.labels)), epoch.generator)
    parts = order.split(batch_sizes_of(len(order), epoch.batch_size))
    draws = torch.rand(len(parts), generator=epoch.generator)
    # In a set of few batches, as in a scaled-down smoke run, none might be drawn as full.
    threshold = max(epoch.knobs["full_batch_share"], float(draws.min()))
    masked = []
    for part, draw in zip(parts, draws.tolist(), strict=True):
        if draw <= threshold:
            masked.append((part, 1.0, True))
        elif len(kept := part[~is_tail[part]]) > 1:  # BatchNorm learns nothing from one image
            masked.append((kept, epoch.knobs["cut_loss_scale"], False))
    return masked


def _merged(batches: list[_Batch], epoch: Epoch) -> list[_Batch]:
    """Replace each full batch by the over-sampled set of itself and the cut batches before it, in batches."""
    merged: list[_Batch] = []
    recorded: list[Tensor] = []
    for batch in batches:
        positions, _, is_full = batch
        recorded.append(positions)
        if is_full:
            balanced = oversampled(torch.cat(recorded), epoch.labels, epoch.class_counts, epoch.generator)
            parts = balanced.split(batch_sizes_of(len(balanced), epoch.batch_size))
            merged += [(part, 1.0, True) for part in parts]
            recorded = []
        else:
            merged.append(batch)
    return merged


def _concatenated(batches: list[_Batch]) -> EpochPlan:
    return EpochPlan(
        positions=torch.cat([positions for positions, _, _ in batches]),
        batch_sizes=tuple(len(positions) for positions, _, _ in batches),
        loss_scales=torch.tensor([loss_scale for _, loss_scale, _ in batches]),
    )
