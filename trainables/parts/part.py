"""The base of the entries in the tables of losses, class weightings, samplers and mixings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Part:
    """A function listed under a name in a table. needs: the names of the hyperparameters that it requires.

    Hparams rejects a part if one of these is None, so the function is called with numbers and checks only their values.
    """

    function: Callable[..., Any]
    needs: tuple[str, ...] = ()
