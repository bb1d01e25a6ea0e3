"""RECIPES: the five source systems' trainings as their reports state them, what was wrong with each, and what mends it.

A recipe is one entry: what is trained (a Training), what the report printed, its fault, and variants that mend it or
vary it; a source's recipes are one file, with the ablations whose cells they are, the
curves to draw of them and the claims to judge by them. What a report does not state is
chosen there, and `choices` says so. Accuracies are shares, 0-1.
"""

from __future__ import annotations

from collections.abc import Mapping

from study.reproduction.recipe import Recipe
from study.reproduction.recipes import s0, s1, s2, s3, s4

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (*s0.RECIPES, *s1.RECIPES, *s2.RECIPES, *s3.RECIPES, *s4.RECIPES)
}
SOURCES = tuple(dict.fromkeys(recipe.source for recipe in RECIPES.values()))
ABLATIONS = (*s0.ABLATIONS, *s1.ABLATIONS, *s2.ABLATIONS)
CURVES = (*s2.CURVES, *s3.CURVES)
CLAIMS = (*s1.CLAIMS, *s2.CLAIMS)
