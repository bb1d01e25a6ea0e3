"""What a reproduction trains: the chosen recipes' runs, each at its scale, on its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.core.errors import StudyError, nearest
from study.reproduction.recipe import Kind, Recipe, Training
from study.reproduction.recipes import RECIPES, SOURCES
from study.reproduction.spec import OWN_DATASET, ReproductionSpec
from trainables.data.sources import load_dataset
from trainables.data.splits import test_data, thin, thinned_counts
from trainables.data.types import ImageDataset, TestData

MIN_IMAGES_PER_CLASS = 20  # however small the scale
# The sources cut the first half of the classes; the long tail is that of Cui et al. 2019, the last class the rarest.
_IMBALANCES: Mapping[str, Mapping[str, Any]] = {
    "step": {"imbalance": "step", "ratio": 10.0, "minority": "first"},
    "exponential": {"imbalance": "exponential", "ratio": 100.0, "minority": "last"},
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe's training, or a variant's, at its scale. not_run: why it cannot be, or None."""

    name: str
    recipe: Recipe
    kind: Kind
    says: str
    training: Training
    scale: float
    dataset: str
    not_run: str | None = None

    @property
    def num_epochs(self) -> int:
        return max(1, round(self.scale * self.training.num_epochs))

    def thinned(self, class_counts: np.ndarray) -> np.ndarray:
        """How many of each class's images are trained on: first the scale's share, then what the imbalance leaves."""
        counts = scaled_counts(class_counts, self.scale * self.training.share)
        if self.training.imbalance is None:
            return counts
        return thinned_counts(counts, **_IMBALANCES[self.training.imbalance])


def scaled_counts(class_counts: np.ndarray, scale: float) -> np.ndarray:
    """int64[C]: the scale's share of each class, at least MIN_IMAGES_PER_CLASS where it has as many."""
    least = np.minimum(class_counts, MIN_IMAGES_PER_CLASS)
    return np.maximum(least, np.rint(scale * class_counts)).astype(np.int64)


def chosen_recipes(names: Sequence[str]) -> tuple[Recipe, ...]:
    """The recipes of these names, sources and 'all', in the table's order; what one begins with is among them.

    Raises StudyError with the nearest name.
    """
    known = ["all", *SOURCES, *RECIPES]
    chosen: set[str] = set()
    for name in names or ("all",):
        if name not in known:
            raise StudyError(f"there is no recipe {name!r}{nearest(name, known)}; known: {', '.join(known)}")
        chosen |= {recipe.name for recipe in RECIPES.values() if name in {"all", recipe.source, recipe.name}}
    chosen |= {begins for name in chosen if (begins := RECIPES[name].training.begins_with)}
    return tuple(recipe for recipe in RECIPES.values() if recipe.name in chosen)


def planned_runs(spec: ReproductionSpec) -> tuple[Run, ...]:
    """All runs of the chosen recipes: the recipes' own, in the table's order, then their variants.

    Raises StudyError.
    """
    recipes = chosen_recipes(spec.recipes)
    known = {"all", *SOURCES, *(name for recipe in RECIPES.values() for name in recipe.runs)}
    for name in spec.scale:
        if name not in known:
            raise StudyError(f"--scale: there is no source, recipe or run {name!r}{nearest(name, known)}")
    runs = [
        Run(
            name=name,
            recipe=recipe,
            kind=kind,
            says=says,
            training=training,
            scale=next(spec.scale[key] for key in (name, recipe.name, recipe.source, "all") if key in spec.scale),
            dataset=recipe.dataset if spec.dataset == OWN_DATASET else spec.dataset,
        )
        for recipe in recipes
        for name, (kind, says, training) in recipe.runs.items()
        if kind == "recipe" or spec.variants
    ]
    used = {"all", *(key for run in runs for key in (run.name, run.recipe.name, run.recipe.source))}
    if unused := set(spec.scale) - used:
        raise StudyError(f"--scale names {', '.join(sorted(unused))}, of which no run was chosen")
    return tuple(sorted(runs, key=lambda run: run.kind != "recipe"))


def load_run_data(spec: ReproductionSpec, name: str) -> ImageDataset:
    """The data set of that name or path, as the spec's options want it. Raises DataError."""
    return load_dataset(
        name,
        data_root=spec.data_root,
        download=spec.download,
        image_size=spec.image_size,
        drop_duplicates=spec.drop_duplicates,
        cache_dir=spec.cache_dir,
    )


def scaled_test(dataset: ImageDataset, scale: float) -> TestData:
    """The scale's share of the test images of each class, at least MIN_IMAGES_PER_CLASS."""
    test = test_data(dataset)
    counts = scaled_counts(np.bincount(test.labels, minlength=len(dataset.class_names)), scale)
    indices = thin(test.labels, np.arange(len(test.labels), dtype=np.int64), counts, seed=0)
    return TestData(images=test.images[indices], labels=test.labels[indices])
