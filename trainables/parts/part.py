"""The base of the entries in the tables of losses, class weightings, samplers and mixings; users' own knobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError


@dataclass(frozen=True, kw_only=True)
class Part:
    """A function listed under a name in a table. needs: the names of the hyperparameters that it requires.

    Hparams rejects a part if one of these is None, so the function is called with numbers and checks only their values.
    """

    function: Callable[..., Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OwnKnob:
    """A hyperparameter that a plugin adds. limits: as pydantic names them. example: a value for the checks of parts."""

    name: str
    kind: type
    example: Any
    limits: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(Annotated[self.kind, Field(**self.limits)])  # type: ignore[arg-type]

    def validated(self, value: Any) -> Any:
        """The value, brought to its type; None means inactive. Raises ValueError, in one sentence."""
        try:
            return None if value is None else self._adapter.validate_python(value)
        except ValidationError as error:
            said = error.errors()[0]["msg"].replace("Input should be", "must be")
            raise ValueError(f"{self.name} {said}") from None


OWN_KNOBS: dict[str, OwnKnob] = {}
"""The hyperparameters that plugins add, by name."""
