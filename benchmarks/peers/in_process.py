"""Optuna in one process, its jobs threads: TPE, successive halving, and this project's learner."""

from __future__ import annotations

import time

import optuna
import torch

from benchmarks.setting import GRACE_EPOCHS, LOGARITHMIC, RANGES, REDUCTION_FACTOR, Setting, Tuned, given_setting, say
from trainables.data.types import TuningData
from trainables.tasks.baseline import BASELINE


def main() -> None:
    setting = given_setting()
    torch.set_num_threads(max(1, setting.num_slots // setting.num_jobs))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = setting.data()
    started = time.perf_counter()
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=setting.seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=GRACE_EPOCHS, reduction_factor=REDUCTION_FACTOR),
    )
    study.optimize(lambda trial: _value(trial, setting, data), n_trials=setting.num_trials, n_jobs=setting.num_jobs)
    seconds = time.perf_counter() - started
    epochs = sum(len(trial.intermediate_values) for trial in study.trials)
    say(Tuned(seconds=seconds, trials=len(study.trials), epochs=epochs))


def _value(trial: optuna.Trial, setting: Setting, data: TuningData) -> float:
    sampled = {
        knob: trial.suggest_float(knob, low, high, log=knob in LOGARITHMIC) for knob, (low, high) in RANGES.items()
    }
    learner = setting.learner(data, sampled, seed=trial.number)
    accuracy = 0.0
    while learner.epoch < learner.num_epochs:
        learner.train_epoch()
        accuracy = BASELINE.validate(learner, data)["accuracy"]
        trial.report(accuracy, learner.epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


if __name__ == "__main__":
    main()
