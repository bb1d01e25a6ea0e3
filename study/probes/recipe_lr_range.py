"""The learning-rate range test of a recipe: on its own net and data, beside the rate that it trains at."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import torch

from study.core.commands import option_words
from study.core.errors import StudyError, last_line
from study.core.invocation import invocation
from study.core.run_dir import numbered
from study.core.spec import option_name, validated
from study.core.start_points import rate_text
from study.page.figures.base import png
from study.probes.lr_range import VERB, facts_of, made_folder, range_settings, require_free, say_divergence
from study.probes.lr_range_figures import draw_lr_range, lr_range_data
from study.probes.lr_range_files import FIGURE, write_lr_range
from study.records.provenance import data_lines
from study.reproduction.runs import Run, load_run_data, planned_runs
from study.reproduction.spec import ReproductionSpec
from study.tasks.resolve import dated_name, machine_settings
from trainables.data.splits import retest_data, tuning_data, whole
from trainables.data.types import TuningData
from trainables.probes.lr_range import LrRange, lr_range
from trainables.training.learner import Learner
from trainables.training.setup import TrialSetup


def run_recipe_range_test(name: str, values: Mapping[str, Any], own: Mapping[str, Any]) -> int:
    """Test the learning rates of a recipe's run, or of a variant's. Returns the exit status.

    values: those of ReproductionSpec's fields; own: the fields of LrRangeSettings. Raises StudyError or DataError.
    """
    settings = range_settings(own)
    spec = validated(ReproductionSpec, {**values, "recipes": (name.partition(".")[0],)})
    require_free(spec)
    run = next(run for run in planned_runs(spec) if run.name == name)
    if run.training.begins_with is not None:
        raise StudyError(f"{name} begins with the weights of {run.training.begins_with}, which this test does not have")
    dataset = load_run_data(spec, run.dataset)
    machine = machine_settings(spec, torch.cuda.device_count())
    spec = validated(ReproductionSpec, {**{n: getattr(spec, n) for n in spec.model_fields_set}, **machine})
    pool = tuning_data(dataset, thinned=whole, subset_seed=spec.seed)
    data = retest_data(pool, thinned=run.thinned, subset_seed=spec.seed)
    learner = _learner(run, spec, data)
    print(*data_lines(dataset), sep="\n")
    print(f"test: {name}, up to {settings.num_steps} steps, {settings.schedule} to {settings.max_lr:g}")
    result = lr_range(learner, settings)

    chosen = float(run.training.hparams["learning_rate"])
    facts = {
        "task": spec.task,
        "recipe": name,
        "command": _command(name, values, own),
        "chosen": chosen,
        **facts_of(result, settings, run.training.hparams, spec, dataset, data),
    }
    title = f"Learning-rate range test: {name} on {dataset.name}"
    figure = png(draw_lr_range, lr_range_data(result, title, chosen=chosen))
    names = (spec.name,) if spec.name else numbered(dated_name(f"lr-range-{name}", dataset.name))
    folder = made_folder(spec.output_dir, names)
    write_lr_range(folder, result, facts, figure)
    say_divergence(result)
    print(f"figure: {folder / FIGURE}")
    print(*_suggestions(result, chosen), sep="\n")
    return 0


def _learner(run: Run, spec: ReproductionSpec, data: TuningData) -> Learner:
    assert spec.numerics is not None
    torch.set_num_threads(spec.numerics.num_threads)
    device = torch.device("cuda" if spec.gpus_per_trial and torch.cuda.is_available() else "cpu")
    setup = TrialSetup(num_epochs=run.num_epochs, seed=spec.seed, numerics=spec.numerics, device=device)
    try:
        return run.training.task.learner(run.training.hparams, data, setup)
    except ValueError as error:
        raise StudyError(f"{run.name} cannot be trained on {run.dataset}: {last_line(error)}") from None


def _command(name: str, values: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    words = [f"{option_name(option)} {shlex.quote(str(value))}" for option, value in own.items()]
    return " ".join([f"{invocation(VERB)} {name}", *option_words(values), *words])


def _suggestions(result: LrRange, chosen: float) -> list[str]:
    """'steepest descent: 0.01, 2 times the recipe's 0.005'."""
    suggestions = {"steepest descent": result.steepest_descent, "a tenth of the minimum's": result.tenth_of_minimum}
    return [
        f"{name}: none, the loss never fell"
        if rate is None
        else f"{name}: {rate_text(rate)}, {rate / chosen:.2g} times the recipe's {rate_text(chosen)}"
        for name, rate in suggestions.items()
    ]
