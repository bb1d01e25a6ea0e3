"""What the entries of the tables of losses, class weightings, samplers and mixings have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Part:
    """A function under a name in a table. needs: the hyperparameters without which it cannot work, by their names.

    Hparams refuse a part whose needs are None; the function is called with numbers and checks nothing but their values.
    """

    function: Callable[..., Any]
    needs: tuple[str, ...] = ()
