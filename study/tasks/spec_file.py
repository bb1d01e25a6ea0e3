"""A spec file to begin with: every setting of a task with its meaning and what it is without the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from search_spaces.branches import decisive_choice
from search_spaces.overrides import range_text
from search_spaces.space import Arm, SearchSpace
from study.core.invocation import invocation
from study.core.parsing import table_of
from study.core.spec import StudySpec, group_names, literal_choices, options_of, validated
from study.core.stage import TUNE, Stage
from study.tasks.resolve import checked, resolved
from study.tasks.study import Study, cut, load_images

TABLES = ("start", "space")
"""The settings that are tables, which TOML has last."""


def spec_file(study: Study, values: Mapping[str, Any]) -> str:
    """The text of the file for these values. Raises StudyError or DataError."""
    import torch

    dataset, found = load_images(study, checked(study, values))
    spec = resolved(study, values, dataset=found, num_gpus=torch.cuda.device_count())
    stages = study.stages(spec, cut(study, spec, dataset))
    return "\n".join(spec_lines(study, spec, stages, values)) + "\n"


def spec_lines(study: Study, spec: StudySpec, stages: Sequence[Stage], values: Mapping[str, Any]) -> list[str]:
    """The lines of the file: what was given is set, all else is a comment, #NAME = VALUE, that says what holds."""
    given = validated(study.spec, values).model_dump(mode="json")
    in_force = spec.model_dump(mode="json")
    lines = [
        f"# {invocation('study.run')} {study.name} --spec FILE",
        "# A line that begins with #NAME says what holds without it: take the # away to set it. Options of the command",
        f"# line come before this file. Ranges and budget are those on {spec.dataset}.",
        f"task = {json.dumps(study.name)}",
    ]
    options = {name: option for name, option in options_of(study.spec).items() if name not in TABLES}
    for group in group_names(study.spec):
        lines += ["", f"# --- {group}"]
        for name in (name for name, option in options.items() if option.group == group):
            unit = f" [{options[name].unit}]" if options[name].unit else ""
            field = study.spec.model_fields[name]
            choices = study.models if name == "model" else literal_choices(field.annotation)
            lines.append(f"# {field.description}{': ' * bool(choices)}{', '.join(choices)}{unit}")
            if values.get(name) is not None:
                lines.append(f"{name} = {json.dumps(given[name])}")
            elif in_force[name] is None or name == "name":  # the name has the time in it
                lines.append(f"# ({name} is not set)")
            else:
                lines.append(f"#{name} = {json.dumps(in_force[name])}")
    lines += [
        "",
        "# --- where arms start: KNOB = VALUE for all, ARM.KNOB for one",
        *_table("start", given["start"], {}),
    ]
    lines += [
        "",
        '# --- what is searched: "LOW..HIGH", "LOW..HIGH:log", "A|B|C", or a value that is fixed. An entry is about',
        "# all arms that have the knob, ARM.KNOB about one, KNOB@CHOICE about trials in which that was chosen before",
        *_table("space", given["space"], {name: text for stage in stages for name, text in _ranges(stage)}),
    ]
    return lines


def _table(name: str, given: Mapping[str, str] | None, others: Mapping[str, str]) -> list[str]:
    rows = {key: f"#{_key(key)} = {json.dumps(text)}" for key, text in others.items()}
    rows |= {key: f"{_key(key)} = {json.dumps(text)}" for key, text in table_of(given or {}, "").items()}
    return [f"[{name}]", *rows.values()]


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else json.dumps(name)


def _ranges(stage: Stage) -> Iterator[tuple[str, str]]:
    """The entries of [space] that say what the stage's arms search by themselves."""
    of_arm = {name: _ranges_of(stage.space, stage.space.arms[name]) for name in stage.arms}
    entries = list(dict.fromkeys(entry for ranges in of_arm.values() for entry in ranges))
    for entry in entries:
        texts = {arm: ranges[entry] for arm, ranges in of_arm.items() if entry in ranges}
        if stage.name == TUNE and len(set(texts.values())) == 1:
            yield entry, next(iter(texts.values()))
        else:
            yield from ((f"{arm}.{entry}", text) for arm, text in texts.items())


def _ranges_of(space: SearchSpace, arm: Arm) -> dict[str, str]:
    """{knob or knob@choice: range}, as the space declares them."""
    branches = space.branches(replace(arm, overrides=()))
    choices = {name: decisive_choice(name, branches) for name in {name for trial in branches for name in trial.params}}
    found: dict[str, str] = {}
    for branch in branches:
        for name, distribution in branch.distributions.items():
            choice = choices[name]
            found[name if choice is None else f"{name}@{branch.params[choice]}"] = range_text(distribution)
    return found
