"""Numbers that a page asks for many times are computed once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd

P = ParamSpec("P")
Of = TypeVar("Of")
R = TypeVar("R")


def once(function: Callable[Concatenate[Of, P], R]) -> Callable[Concatenate[Of, P], R]:
    """A function of the tables of a run, computed once for each set of further arguments, which must be hashable.

    The results are kept with the tables, which never change. A frame is handed out as a copy that is made when it is
    written to.
    """

    @functools.wraps(function)
    def remembered(tables: Of, *arguments: P.args, **options: P.kwargs) -> R:
        known: dict[Any, R] = vars(tables).setdefault("_known", {})
        key = (function, arguments, tuple(sorted(options.items())))
        if key not in known:
            known[key] = function(tables, *arguments, **options)
        result = known[key]
        return result.copy(deep=False) if isinstance(result, pd.DataFrame | pd.Series) else result  # type: ignore[return-value]

    return remembered
