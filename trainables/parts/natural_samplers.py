"""Samplers of the recipes: an epoch is as long as in the source system, whatever it copies, cuts or over-samples."""

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
    """`s1_step_copy`: the whole copied set, in random order. See samplers.copied."""
    return plain_plan(shuffled(copied(epoch), epoch.generator), epoch.batch_size)


def augment_all(epoch: Epoch) -> EpochPlan:
    """`s1_step_aug`: the whole augmented set, in random order. See samplers.augmented.

    Its photometric factors are drawn anew in each epoch, where the source's set was made once.
    """
    views = list(VIEWS)
    if not epoch.knobs["vertical_flip"]:
        views[views.index("vertical_flip")] = "brightness"  # as many images as with it
    pairs = augmented(epoch, views=views, doubles_tail=epoch.knobs["doubles_tail"])
    return views_plan(shuffled(pairs, epoch.generator), epoch)


def mask_in_loop(epoch: Epoch) -> EpochPlan:
    """`s0_flag_*`: the shuffled set in batches, each of them full with probability full_batch_share, else cut.

    Of a cut batch the tail classes' images are left out, and the loss of what remains counts cut_loss_scale. The mask
    is drawn anew in each epoch, so that in the end the tail images have all been seen.
    """
    return _concatenated(_masked_batches(epoch))


def mask_in_loop_oversample(epoch: Epoch) -> EpochPlan:
    """`s0_flag_oversample` as its report means it: the over-sampled batch is trained on.

    The cut batches are recorded; a full batch is merged with those since the last one, its tail classes over-sampled
    (samplers.oversampled) and the result trained in batches of batch_size. In the source's program the full batch was
    trained on instead: that is mask_in_loop.
    """
    return _concatenated(_merged(_masked_batches(epoch), epoch))


def flag_oversample(epoch: Epoch) -> EpochPlan:
    """The same on data thinned once, whose rare images all lie in full batches: see samplers.full_and_cut_batches."""
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
    """Those in which something is left; at least one is full."""
    is_tail = tail_classes(epoch.class_counts)[epoch.labels]
    order = shuffled(torch.arange(len(epoch.labels)), epoch.generator)
    parts = order.split(batch_sizes_of(len(order), epoch.batch_size))
    draws = torch.rand(len(parts), generator=epoch.generator)
    # A set of few batches, scaled down for a smoke run, may have drawn none.
    threshold = max(epoch.knobs["full_batch_share"], float(draws.min()))
    masked = []
    for part, draw in zip(parts, draws.tolist(), strict=True):
        if draw <= threshold:
            masked.append((part, 1.0, True))
        elif len(kept := part[~is_tail[part]]) > 1:  # BatchNorm learns nothing from one image
            masked.append((kept, epoch.knobs["cut_loss_scale"], False))
    return masked


def _merged(batches: list[_Batch], epoch: Epoch) -> list[_Batch]:
    """The cut batches; in a full one's place what the over-sampled set of it and the cut ones before gives."""
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
