"""RECIPES: the five source systems' trainings as their reports state them, what was wrong with each, and what mends it.

A recipe is one entry: what is trained (a Training), what the report printed, its fault, and variants that mend it or
vary it. What a report does not state is chosen here, and `choices` says so. Accuracies are shares, 0-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.core.errors import StudyError, nearest
from study.reproduction.recipe import Ablation, Recipe
from study.reproduction.recipes.s0 import S0_RECIPES
from study.reproduction.recipes.s1 import S1_RECIPES
from study.reproduction.recipes.s2 import OPTIMIZERS, S2_RECIPES, TASK_A
from study.reproduction.recipes.s3 import S3_RECIPES
from study.reproduction.recipes.s4 import S4_RECIPES

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (*S0_RECIPES, *S1_RECIPES, *S2_RECIPES, *S3_RECIPES, *S4_RECIPES)
}
SOURCES = tuple(dict.fromkeys(recipe.source for recipe in RECIPES.values()))

ABLATIONS = (
    Ablation(
        name="mask",
        title="The mask in the loop, or the data thinned once",
        rows=("in the loop", "thinned once"),
        columns=("ResNet", "small CNN"),
        cells=(
            ("s0_flag_downweight", "s0_flag_downweight.small_cnn"),
            ("s0_flag_downweight.thinned_once", "s0_flag_downweight.small_cnn_thinned_once"),
        ),
        counts_images=True,
    ),
    Ablation(
        name="padding",
        title="Padding of the small CNN",
        rows=("same", "valid"),
        columns=("test accuracy",),
        cells=(("s1_cnn",), ("s1_cnn.valid_padding",)),
    ),
    Ablation(
        name="optimisers",
        title="Three optimisers",
        rows=("test accuracy",),
        columns=tuple(title for title, *_ in OPTIMIZERS.values()),
        cells=(tuple(recipe.name for recipe in TASK_A),),
    ),
    Ablation(
        name="augmentation",
        title="Augmentation and learning-rate decay",
        rows=("augmented", "as they are"),
        columns=("with decay", "without"),
        cells=(
            ("s2_ultranet18", "s2_ultranet18.constant_lr"),
            ("s2_ultranet18.no_augmentation", "s2_ultranet18.neither"),
        ),
    ),
    Ablation(
        name="remedies",
        title="Class-balanced loss and weighted sampler",
        rows=("cross-entropy", "class-balanced loss"),
        columns=("shuffled", "weighted sampler"),
        cells=(("s2_lt_none", "s2_lt_wrs"), ("s2_lt_cb", "s2_lt_cb_wrs")),
    ),
)


def chosen_recipes(names: Sequence[str]) -> tuple[Recipe, ...]:
    """The recipes of these names, sources and 'all', in the table's order; what one begins with is among them.

    Raises StudyError with the nearest name.
    """
    known = ["all", *SOURCES, *RECIPES]
    chosen: set[str] = set()
    for name in names or ("all",):
        if name not in known:
            raise StudyError(f"there is no recipe {name!r}{nearest(name, known)}; known: {', '.join(known)}")
        chosen |= {r.name for r in RECIPES.values() if name in {"all", r.source, r.name}}
    chosen |= {begins for name in chosen if (begins := RECIPES[name].training.begins_with)}
    return tuple(recipe for recipe in RECIPES.values() if recipe.name in chosen)
