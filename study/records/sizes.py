"""How many parameters the models of a study's trials have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from trainables.common.plugins import own_parts

Kind = tuple[str | None, str | None]
"""What tells models of a study apart: name and padding."""


def sizes(kinds: Iterable[Kind], dataset: Mapping[str, Any]) -> dict[Kind, int | None]:
    """The number of parameters of each kind; {} where there is but one, which saves building it.

    They are counted by building a model anew with a linear head, so that a remedy whose head lacks ten biases is no
    smaller. None: not known here, or a user's own, which is there while its plugin is in use alone, and a page must
    come out the same without. dataset: of summary.json.
    """
    distinct = tuple(dict.fromkeys(kinds))
    if len(distinct) < 2:
        return {}
    own = {part.name for part in own_parts() if part.kind == "model"}
    shape = (int(dataset["num_classes"]), int(dataset["channels"]), int(dataset["image_size"]))
    return {kind: None if kind[0] in own else _counted(*kind, *shape) for kind in distinct}


@cache
def _counted(model: str | None, padding: str | None, num_classes: int, channels: int, image_size: int) -> int | None:
    from trainables.models import MODELS, num_parameters  # slow to import: torch and torchvision

    if model not in MODELS:
        return None
    return num_parameters(model, num_classes=num_classes, in_channels=channels, image_size=image_size, padding=padding)
