"""Settings as a command line, and the command that trains a winner again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from study.core.invocation import invocation
from study.core.parsing import table_of
from study.core.spec import StudySpec, option_name, options_of


def command_line(task: str, values: Mapping[str, Any], verb: str = "study.run") -> str:
    """The command that runs the verb with these settings."""
    return " ".join([f"{invocation(verb)} {task}", *option_words(values)])


def option_words(values: Mapping[str, Any]) -> list[str]:
    """These settings as options, each with its value; one that is off as --no-NAME, unless it is so by itself."""
    words = []
    options = options_of(StudySpec)
    for name, value in values.items():
        if value is True:
            words.append(option_name(name))
        elif isinstance(value, list | tuple) and name in options and options[name].collects:
            words += [f"{option_name(name)} {shlex.quote(str(text))}" for text in value]  # may have a comma in it
        elif value is False:
            field = StudySpec.model_fields.get(name)
            if field is None or field.default is not False:
                words.append(option_name(f"no_{name}"))
        elif value is not None:
            if isinstance(value, dict):
                value = [f"{knob}={setting}" for knob, setting in table_of(value, "").items()]
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words.append(f"{option_name(name)} {shlex.quote(text)}")
    return words


def winner_settings(
    spec: StudySpec, alone: Mapping[str, Any], space: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The settings of a study that trains a single configuration of spec's study and retests it.

    alone: the arms and start of that study, and the task's further settings (see Study.alone). space: the ranges that
    the user set for its arms.
    """
    assert spec.numerics is not None
    fields = type(spec).model_fields
    values = spec.model_dump(mode="json", exclude_none=True)
    repeated = {
        name: values[name]
        for name, option in options_of(type(spec)).items()
        if option.is_repeated and name in values and str(values[name]) != str(fields[name].default)
    }
    own = {name: value for name, value in alone.items() if name not in {"arms", "start"}}
    return {
        **repeated,
        **own,
        "seed": spec.seed,
        "precision": spec.numerics.precision,
        "cpus_per_trial": spec.cpus_per_trial,
        "arms": alone["arms"],
        "trials_per_arm": 1,
        "max_epochs": spec.max_epochs,
        "retest_seeds": spec.retest_seeds,
        **({"space": dict(space)} if space else {}),
        "start": alone["start"],
    }
