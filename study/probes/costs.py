"""From rehearsals to what a training of an arm costs, on average over what is searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from study.core.stage import Stage
from study.engine.forecast import ArmCost
from study.probes.extremes import Case, Choice
from trainables.probes.rehearsal import Rehearsal, Seconds
from trainables.training.evaluation import FOLLOWED_TRAIN_IMAGES


def seconds_by_choice(trained: Sequence[tuple[Case, Rehearsal]]) -> dict[Choice, Seconds]:
    """The time of an epoch's training by choice, all others as at the start; the start's stands at its own choices.

    Where a choice opens others, theirs are averaged.
    """
    start = _start_seconds(trained)
    by_choice: dict[Choice, list[Seconds]] = {}
    for case, rehearsal in trained:
        if case.choice is not None:
            by_choice.setdefault(case.choice, []).append(rehearsal.image * rehearsal.num_images)
    found = {choice: _mean(seconds) for choice, seconds in by_choice.items()}
    at_start = next(case.params for case, _ in trained)
    for knob in dict.fromkeys(knob for knob, _ in by_choice):
        if knob in at_start:
            found.setdefault((knob, at_start[knob]), start)
    return found


def mean_seconds(start: Seconds, by_choice: Mapping[Choice, Seconds]) -> Seconds:
    """The mean over all choices, each as likely as any other of its knob: what knobs add to the start's adds up.

    by_choice: see seconds_by_choice.
    """
    total = start
    for knob in dict.fromkeys(knob for knob, _ in by_choice):
        total += _mean([seconds for (name, _), seconds in by_choice.items() if name == knob]) + start * -1
    return total


def _start_seconds(trained: Sequence[tuple[Case, Rehearsal]]) -> Seconds:
    starts = [one.image * one.num_images for case, one in trained if case.choice is None]
    return _mean(starts or [one.image * one.num_images for _, one in trained])


def arm_cost(
    stage: Stage,
    trained: Sequence[tuple[Case, Rehearsal]],
    *,
    num_train: tuple[int, int],
    num_val: int,
    num_test: int,
) -> ArmCost:
    """What a training costs on average over what is searched. num_train: the images of tuning, and of a retest."""
    tuning, later = num_train
    each = [rehearsal for _, rehearsal in trained]
    train = mean_seconds(_start_seconds(trained), seconds_by_choice(trained))
    judged, save = _mean([one.val_image for one in each]), _mean([one.save for one in each])
    followed = min(FOLLOWED_TRAIN_IMAGES, later) + num_test if stage.task.follow else 0
    return ArmCost(
        build=_mean([one.build for one in each]),
        epoch=train + judged * num_val + save,
        retest_epoch=train * (later / tuning) + judged * followed + save,
        test=judged * num_test,
        checkpoint_bytes=max(one.checkpoint_bytes for one in each),
        model_bytes=max(one.model_bytes for one in each),
    )


def idle_cost(cost: ArmCost) -> ArmCost:
    """The cost by the processor's time alone."""
    return replace(
        cost,
        build=cost.build.of_processor,
        epoch=cost.epoch.of_processor,
        retest_epoch=cost.retest_epoch.of_processor,
        test=cost.test.of_processor,
    )


def _mean(each: Sequence[Seconds]) -> Seconds:
    return sum(each, Seconds()) * (1 / len(each))
