"""The numbers of a reproduction against those that were reported, and against what mends or controls a recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace

from study.analysis.intervals import Interval, paired_difference
from study.reproduction.recipe import LAST_EPOCH, Reported
from study.reproduction.records import RecipeRecord
from study.reproduction.results import (
    Reproduction,
    Score,
    absence,
    best_on_test,
    last_epoch,
    main_column,
    obstacle,
    same_scale,
    score_of,
)

TOLERANCE = 0.03
"""How far a number may lie from the reported one and still be called reproduced, 0-1."""
ASSIGNMENT_OF = {"test_exact_accuracy_argmax": "test_exact_accuracy"}
"""Of a score whose puzzles are solved by row argmax, the same with the optimal assignment."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A reported number and ours. obstacle: why the two do not compare.

    Ours is the best epoch on test, as the reports picked theirs; the last epoch where the number is not of the test
    split, or is said to be the last epoch's.
    """

    reported: Reported
    last: Score | None
    best: Score | None
    is_best_compared: bool
    obstacle: str | None

    @property
    def ours(self) -> Score | None:
        return self.best if self.is_best_compared else self.last

    @property
    def difference(self) -> float | None:
        """Ours minus reported; None where there is nothing to compare."""
        return None if self.ours is None or self.obstacle is not None else self.ours.mean - self.reported.value

    @property
    def is_within(self) -> bool:
        """Whether ours is at most TOLERANCE away."""
        return self.difference is not None and round(abs(self.difference), 9) <= TOLERANCE

    def at_last_epoch(self) -> Comparison:
        return replace(self, is_best_compared=False)


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What mends a recipe, or the control that it lacks.

    run: None where the recipe's own run is judged otherwise: at its last epoch, or with another decoder. column: of
    after, and of before too unless the decoder is what is mended. difference: after minus before over the seeds that
    both have, of a control before minus after; None where the two ran at different scales, or where they are the same
    by construction. absent: why there is no number after.
    """

    recipe: RecipeRecord
    run: str | None
    is_control: bool = False
    column: str
    says: str
    before: Score | None
    after: Score | None
    difference: Interval | None
    absent: str | None


# --- reported -------------------------------------------------------------------------------------------------------


def compared(
    reproduction: Reproduction, recipe: RecipeRecord, reported: Reported, run: str | None = None
) -> Comparison:
    """A reported number beside that of the recipe's own run, or of another run."""
    run = run or recipe.name
    best = score_of(best_on_test(reproduction, run, reported.column))
    return Comparison(
        reported=reported,
        last=score_of(last_epoch(reproduction, run, reported.column)),
        best=best,
        is_best_compared=best is not None and LAST_EPOCH not in reported.what,
        obstacle=obstacle(reproduction, run),
    )


def main_comparison(reproduction: Reproduction, recipe: RecipeRecord) -> Comparison | None:
    """That of the first reported number; None where the report printed none."""
    return compared(reproduction, recipe, recipe.reported[0]) if recipe.reported else None


def shared_numbers(reproduction: Reproduction) -> list[list[tuple[RecipeRecord, Comparison]]]:
    """The recipes whose main number compares with their report's, those together that share one.

    A source that printed one number for several recipes printed the best of theirs: the best of ours stands first.
    """
    found: dict[tuple[str, str, str, float], list[tuple[RecipeRecord, Comparison]]] = {}
    for recipe in reproduction.recipes:
        one = main_comparison(reproduction, recipe)
        if one is not None and one.difference is not None:
            key = (recipe.source, recipe.dataset, one.reported.column, one.reported.value)
            found.setdefault(key, []).append((recipe, one))
    return [sorted(group, key=lambda member: -(member[1].difference or 0.0)) for group in found.values()]


def as_stated(reproduction: Reproduction) -> list[RecipeRecord]:
    """The recipes that ran on their own data and at their full scale."""
    return [
        recipe
        for recipe in reproduction.recipes
        if reproduction.has_run(recipe.name) and obstacle(reproduction, recipe.name) is None
    ]


def flatteries(reproduction: Reproduction) -> dict[str, float]:
    """Recipe -> by how much its best epoch on test lies above its last, 0-1, over seeds; of those as stated."""
    found = {}
    for recipe in as_stated(reproduction):
        name, column = recipe.name, main_column(reproduction, recipe)
        best, last = best_on_test(reproduction, name, column), last_epoch(reproduction, name, column)
        difference = paired_difference(best, last)
        if difference is not None and _has_epochs(reproduction, name):
            found[name] = difference.mean
    return found


def _has_epochs(reproduction: Reproduction, run: str) -> bool:
    """Whether there is more than one epoch to pick from; else the best is the last by construction."""
    record = reproduction.run(run)
    return record is not None and record.num_epochs > 1


# --- corrected ------------------------------------------------------------------------------------------------------


def main_correction(reproduction: Reproduction, recipe: RecipeRecord) -> Correction | None:
    """What stands in the corrected column: of the run, or of the last epoch, that the recipe names."""
    if recipe.corrected is None:
        return None
    if recipe.corrected == LAST_EPOCH:
        return _reported_last(reproduction, recipe)
    return _mended_by(reproduction, recipe, recipe.corrected)


def corrections(reproduction: Reproduction, recipe: RecipeRecord) -> list[Correction]:
    """All that mends a recipe, that of the corrected column first; before it what another decoder alone changes."""
    first = main_correction(reproduction, recipe)
    decoded = [] if first is None or first.run is None else _decoded_otherwise(reproduction, recipe)
    others = [
        _mended_by(reproduction, recipe, name)
        for name in recipe.runs
        if (run := reproduction.run(name)) and run.kind in {"corrected", "control"} and name != recipe.corrected
    ]
    return [*decoded, *([first] if first else []), *others]


def _reported_last(reproduction: Reproduction, recipe: RecipeRecord) -> Correction:
    name, column = recipe.name, main_column(reproduction, recipe)
    before, after = best_on_test(reproduction, name, column), last_epoch(reproduction, name, column)
    return Correction(
        recipe=recipe,
        run=None,
        column=column,
        says="the last epoch is reported",
        before=score_of(before),
        after=score_of(after),
        difference=paired_difference(after, before) if _has_epochs(reproduction, name) else None,
        absent=absence(reproduction, name),
    )


def _decoded_otherwise(reproduction: Reproduction, recipe: RecipeRecord) -> list[Correction]:
    """The recipe's own run, its puzzles solved by optimal assignment: nothing is trained anew."""
    column = main_column(reproduction, recipe)
    if column not in ASSIGNMENT_OF:
        return []
    before, after = (last_epoch(reproduction, recipe.name, each) for each in (column, ASSIGNMENT_OF[column]))
    return [
        Correction(
            recipe=recipe,
            run=None,
            column=ASSIGNMENT_OF[column],
            says="the decoder alone: the same trained net, optimal assignment in place of the row argmax",
            before=score_of(before),
            after=score_of(after),
            difference=paired_difference(after, before),
            absent=absence(reproduction, recipe.name),
        )
    ]


def _mended_by(reproduction: Reproduction, recipe: RecipeRecord, run: str) -> Correction:
    """Another training, both judged by its own score, so that the difference is of the training alone."""
    record = reproduction.run(run)
    column = main_column(reproduction, recipe) if record is None else record.score
    before, after = (last_epoch(reproduction, name, column) for name in (recipe.name, run))
    is_control = record is not None and record.kind == "control"
    pair = (before, after) if is_control else (after, before)
    return Correction(
        recipe=recipe,
        run=run,
        is_control=is_control,
        column=column,
        says=run if record is None else record.says,
        before=score_of(before),
        after=score_of(after),
        difference=paired_difference(*pair) if same_scale(reproduction, recipe.name, run) else None,
        absent=absence(reproduction, run),
    )
