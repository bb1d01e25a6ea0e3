"""Samplers: which training images an epoch draws, in which batches, with which loss scale and fixed view.

Every sampler in SAMPLERS draws exactly N = M images per epoch, M the size of the thinned training set, however many it
copies or over-samples, so that arms compete with equal work (the recipes' samplers in natural_samplers.py do not). A
plan is a pure function of its arguments: the caller seeds the generator by (seed, epoch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trainables.data.augmentation import VIEWS
from trainables.parts.class_weights import tail_classes
from trainables.parts.part import Part
from trainables.parts.schedules import last_epoch_before


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochPlan:
    """The batches of an epoch: batch k takes the next batch_sizes[k] of positions.

    positions: int64[N], into the thinned training set; batch_sizes: they add up to N; loss_scales:
    float32[num_batches], factors of the batches' losses; views: uint8[N], indices into VIEWS, or None
    if the images are not fixed views; photometric_strength: how far these views vary brightness and contrast.
    Raises ValueError if the lengths disagree.
    """

    positions: Tensor
    batch_sizes: tuple[int, ...]
    loss_scales: Tensor
    views: Tensor | None = None
    photometric_strength: float | None = None

    def __post_init__(self) -> None:
        if sum(self.batch_sizes) != len(self.positions):
            raise ValueError(f"batch_sizes add up to {sum(self.batch_sizes)}, not to {len(self.positions)} positions")
        if len(self.loss_scales) != len(self.batch_sizes):
            raise ValueError(f"got {len(self.loss_scales)} loss_scales for {len(self.batch_sizes)} batches")
        if self.views is not None and self.views.shape != self.positions.shape:
            raise ValueError(f"got {len(self.views)} views for {len(self.positions)} positions")


def plain_plan(positions: Tensor, batch_size: int) -> EpochPlan:
    """A plan of the given positions in their order, all batches at loss scale 1. positions: int64[N]."""
    sizes = batch_sizes_of(len(positions), batch_size)
    return EpochPlan(positions=positions, batch_sizes=sizes, loss_scales=torch.ones(len(sizes)))


def shuffled_plan(num_images: int, batch_size: int, generator: torch.Generator) -> EpochPlan:
    """A plan that draws each of num_images positions once, in random order."""
    return plain_plan(torch.randperm(num_images, generator=generator), batch_size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Epoch:
    """The inputs of a sampler for one epoch.

    labels: int64[M], of the thinned training set; class_counts: int64[C]; knobs: hyperparameters by name, of which a
    sampler reads its own; number: the epoch, 1 to num_epochs; generator: the source of all random numbers. All tensors
    are on the CPU. Raises ValueError if class_counts are not those of the labels or a class has no image.
    """

    labels: Tensor
    class_counts: Tensor
    batch_size: int
    knobs: Mapping[str, Any]
    number: int
    num_epochs: int
    generator: torch.Generator

    def __post_init__(self) -> None:
        if not torch.equal(torch.bincount(self.labels, minlength=len(self.class_counts)), self.class_counts):
            raise ValueError(
                f"class_counts {self.class_counts.tolist()} are not the counts of the {len(self.labels)} labels"
            )
        if int(self.class_counts.min()) < 1:
            raise ValueError(f"every class must have at least 1 image, got class_counts {self.class_counts.tolist()}")


def shuffle(epoch: Epoch) -> EpochPlan:
    """Draw each image once, in random order."""
    return shuffled_plan(len(epoch.labels), epoch.batch_size, epoch.generator)


def copy(epoch: Epoch) -> EpochPlan:
    """The sampler of `s1_step_copy`: each image of class j is present round(max n / n_j) times (half to even).

    The source trains on the whole copied set; here an epoch is N images drawn from it without replacement.
    """
    return plain_plan(shuffled(copied(epoch), epoch.generator)[: len(epoch.labels)], epoch.batch_size)


def copied(epoch: Epoch) -> Tensor:
    """The positions that `copy` draws from, with repeats: int64[...], in order."""
    copies = (epoch.class_counts.max() / epoch.class_counts).round().long()
    return torch.arange(len(epoch.labels)).repeat_interleave(copies[epoch.labels])


def augment_copies(epoch: Epoch) -> EpochPlan:
    """The sampler of `s1_step_aug`: each image in five fixed views (VIEWS), then the tail classes doubled.

    An epoch is N (image, view) pairs drawn from that set without replacement; it holds each pair of a tail class twice.
    """
    drawn = shuffled(augmented(epoch), epoch.generator)[: len(epoch.labels)]
    return views_plan(drawn, epoch)


def augmented(epoch: Epoch, *, views: Sequence[str] = VIEWS, doubles_tail: bool = True) -> Tensor:
    """The (image, view) pairs that `augment_copies` draws from: int64[...], position × len(VIEWS) + view, in order."""
    copies = torch.ones_like(epoch.labels)
    if doubles_tail:
        copies += tail_classes(epoch.class_counts)[epoch.labels]
    pairs = torch.arange(len(epoch.labels))[:, None] * len(VIEWS) + torch.tensor([VIEWS.index(view) for view in views])
    return pairs.flatten().repeat_interleave(copies.repeat_interleave(len(views)))


def views_plan(pairs: Tensor, epoch: Epoch) -> EpochPlan:
    """A plan of the given (image, view) pairs in their order, with the epoch's photometric_strength."""
    return replace(
        plain_plan(pairs // len(VIEWS), epoch.batch_size),
        views=(pairs % len(VIEWS)).to(torch.uint8),
        photometric_strength=epoch.knobs["photometric_strength"],
    )


def weighted(epoch: Epoch) -> EpochPlan:
    """Draw N images with replacement, class j with probability ∝ n_j^q, q = sampler_exponent.

    q = 1 follows the data, ½ is square-root sampling, 0 is balanced.
    Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition", eq. 1.
    """
    return _drawn(epoch, epoch.class_counts.double().pow(epoch.knobs["sampler_exponent"] - 1))


def progressive(epoch: Epoch) -> EpochPlan:
    """Draw N images with replacement, in proportion to the data in the first epoch, balanced in the last.

    Kang et al. 2020, eq. 3: p_j = (1 - t/T) p_j^IB + t/T p_j^CB, with t and T counted from the first epoch, so that
    both extremes are reached.
    """
    progress = (epoch.number - 1) / max(1, epoch.num_epochs - 1)
    counts = epoch.class_counts.double()
    return _drawn(epoch, (1 - progress) / counts.sum() + progress / (len(counts) * counts))


def deferred(epoch: Epoch) -> EpochPlan:
    """Deferred re-sampling (DRS), Cao et al. 2019: draw each image once until reweight_start, then balanced."""
    return _balanced_after(epoch, epoch.knobs["reweight_start"])


def decoupled(epoch: Epoch) -> EpochPlan:
    """The sampling of cRT, Kang et al. 2020: draw each image once until head_start (the trunk), then balanced."""
    return _balanced_after(epoch, epoch.knobs["head_start"])


def flag(epoch: Epoch) -> EpochPlan:
    """The sampler of `s0_flag_downweight` on data thinned once: full batches count 1, cut ones cut_loss_scale.

    Each image is drawn once, every tail image in a full batch; see full_and_cut_batches. With step imbalance of 1/10
    about 1 batch in 10 is full, as in the source. (The source drew its mask anew in every epoch, so that over the
    epochs no image was missing.)
    """
    cut_loss_scale = epoch.knobs["cut_loss_scale"]
    batches = full_and_cut_batches(epoch.labels, epoch.class_counts, epoch.batch_size, epoch.generator)
    return EpochPlan(
        positions=torch.cat([positions for positions, _ in batches]),
        batch_sizes=tuple(len(positions) for positions, _ in batches),
        loss_scales=torch.tensor([1.0 if is_full else cut_loss_scale for _, is_full in batches]),
    )


def warmup_oversample(epoch: Epoch) -> EpochPlan:
    """The sampler of `s0_flag_oversample`, corrected: the over-sampled set is trained on.

    The source built that set and then discarded it. The batches of `flag`, in random order, form cycles: the cut
    batches are trained on at cut_loss_scale and recorded; the full batch that ends a cycle is merged with the recorded
    ones, their tail classes are over-sampled (see oversampled), and the result is trained on in batches of batch_size
    at loss scale 1; then the record is cleared. A cycle draws at least the images that it holds, so N is reached by the
    end of the last cycle. The plan is truncated at N; the order differs in every epoch, so all cycles get their turn.
    """
    labels, class_counts = epoch.labels, epoch.class_counts
    cut_loss_scale = epoch.knobs["cut_loss_scale"]
    drawn: list[tuple[Tensor, float]] = []
    recorded: list[Tensor] = []
    num_missing = len(labels)
    for positions, is_full in full_and_cut_batches(labels, class_counts, epoch.batch_size, epoch.generator):
        if num_missing <= 0:
            break
        recorded.append(positions)
        if is_full:
            merged = oversampled(torch.cat(recorded), labels, class_counts, epoch.generator)
            recorded = []
            sizes = batch_sizes_of(len(merged), epoch.batch_size)
            drawn += [(batch, 1.0) for batch in merged.split(sizes)]
            num_missing -= len(merged)
        else:
            drawn.append((positions, cut_loss_scale))
            num_missing -= len(positions)
    return _truncated(drawn, len(labels))


@dataclass(frozen=True, kw_only=True)
class Sampler(Part):
    """A way to draw an epoch. function(Epoch) -> EpochPlan reads the knobs in needs.

    retrains_head_from: the knob that gives the share of training after which the head alone is trained, from fresh
    weights; None: the whole model is trained to the end.
    """

    function: Callable[[Epoch], EpochPlan]
    retrains_head_from: str | None = None


SAMPLERS: dict[str, Sampler] = {
    "shuffle": Sampler(function=shuffle),
    "copy": Sampler(function=copy),
    "augment_copies": Sampler(function=augment_copies, needs=("photometric_strength",)),
    "weighted": Sampler(function=weighted, needs=("sampler_exponent",)),
    "progressive": Sampler(function=progressive),
    "deferred": Sampler(function=deferred, needs=("reweight_start",)),
    "decoupled": Sampler(function=decoupled, needs=("head_start",), retrains_head_from="head_start"),
    "flag": Sampler(function=flag, needs=("cut_loss_scale",)),
    "warmup_oversample": Sampler(function=warmup_oversample, needs=("cut_loss_scale",)),
}


def _balanced_after(epoch: Epoch, start: float) -> EpochPlan:
    if epoch.number <= last_epoch_before(start, epoch.num_epochs):
        return shuffle(epoch)
    return _drawn(epoch, 1 / epoch.class_counts.double())


def _drawn(epoch: Epoch, image_weights: Tensor) -> EpochPlan:
    """Draw N images with replacement, one of class j with probability ∝ image_weights[j]. image_weights: float64[C]."""
    positions = torch.multinomial(
        image_weights[epoch.labels], len(epoch.labels), replacement=True, generator=epoch.generator
    )
    return plain_plan(positions, epoch.batch_size)


def batch_sizes_of(num_images: int, batch_size: int) -> tuple[int, ...]:
    """The sizes of full batches and a smaller last one; a single last image joins the batch before it."""
    num_whole, rest = divmod(num_images, batch_size)
    sizes = [batch_size] * num_whole
    if rest == 1 and sizes:
        sizes[-1] += 1  # BatchNorm learns nothing from one image
    elif rest:
        sizes.append(rest)
    return tuple(sizes)


def full_and_cut_batches(
    labels: Tensor, class_counts: Tensor, batch_size: int, generator: torch.Generator
) -> list[tuple[Tensor, bool]]:
    """Divide all images into full and cut batches in random order: a list of (positions, is it full).

    A full batch has batch_size images, of which a share of |tail| / C is of tail classes, as in balanced data. There
    are as many full batches as the tail images fill; the last is smaller, with head images in the same proportion to
    its tail images. A cut batch is what a mask would leave of a full one: batch_size × (1 - |tail| / C) head images,
    but at least 2. A single remaining head image joins the cut batch before it, or the last full batch if there is no
    cut one. If rounding makes small full batches ask for more head images than there are, they share them evenly.
    """
    is_tail = tail_classes(class_counts)
    tail_share = int(is_tail.sum()) / len(class_counts)
    tail_per_full = max(1, round(batch_size * tail_share))
    cut_size = max(2, round(batch_size * (1 - tail_share)))
    tail = shuffled(is_tail[labels].nonzero().flatten(), generator)
    head = shuffled((~is_tail[labels]).nonzero().flatten(), generator)

    tail_parts = tail.split(tail_per_full) if len(tail) else ()
    head_per_tail = (batch_size - tail_per_full) / tail_per_full
    head_sizes = [max(1, round(len(part) * head_per_tail)) for part in tail_parts]
    if sum(head_sizes) > len(head):
        head_sizes = [len(part) for part in head.tensor_split(len(tail_parts))]
    num_left = len(head) - sum(head_sizes)
    if num_left == 1 and head_sizes:
        head_sizes[-1] += 1
        num_left = 0
    cut_sizes = batch_sizes_of(num_left, cut_size)

    head_parts = head.split([*head_sizes, *cut_sizes])
    full = [(torch.cat(parts), True) for parts in zip(tail_parts, head_parts, strict=False)]
    cut = [(part, False) for part in head_parts[len(full) :]]
    batches = full + cut
    return [batches[k] for k in torch.randperm(len(batches), generator=generator).tolist()]


def oversampled(positions: Tensor, labels: Tensor, class_counts: Tensor, generator: torch.Generator) -> Tensor:
    """Add random repeats of each tail class, up to the head classes' mean count, and shuffle.

    positions: int64[...], of which each is kept at least once. A tail class without an image stays without.
    """
    is_tail = tail_classes(class_counts)
    position_labels = labels[positions]
    counts = torch.bincount(position_labels, minlength=len(class_counts))
    wanted = round(counts[~is_tail].double().mean().item())
    parts = [positions]
    for tail_class in is_tail.nonzero().flatten().tolist():
        present = positions[position_labels == tail_class]
        if 0 < len(present) < wanted:
            picks = torch.randint(len(present), (wanted - len(present),), generator=generator)
            parts.append(present[picks])
    return shuffled(torch.cat(parts), generator)


def _truncated(batches: Sequence[tuple[Tensor, float]], num_images: int) -> EpochPlan:
    """A plan of the first num_images of (positions, loss scale); a single last image joins the batch before it."""
    sizes: list[int] = []
    scales: list[float] = []
    num_missing = num_images
    for positions, loss_scale in batches:
        size = min(len(positions), num_missing)
        num_missing -= size
        if size == 1 and sizes:
            sizes[-1] += 1
        elif size:
            sizes.append(size)
            scales.append(loss_scale)
    return EpochPlan(
        positions=torch.cat([positions for positions, _ in batches])[:num_images],
        batch_sizes=tuple(sizes),
        loss_scales=torch.tensor(scales),
    )


def shuffled(positions: Tensor, generator: torch.Generator) -> Tensor:
    """The positions in random order."""
    return positions[torch.randperm(len(positions), generator=generator)]
