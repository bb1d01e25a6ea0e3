"""Syne Tune's local backend: a process a trial (syne_trial.py), ASHA, and this project's learner."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import loguniform, uniform
from syne_tune.optimizer.baselines import ASHA
from syne_tune.tuner_callback import TunerCallback

from benchmarks.setting import GRACE_EPOCHS, LOGARITHMIC, RANGES, REDUCTION_FACTOR, Tuned, given_setting, say

SLEEP_SECONDS = 0.2  # between two looks at the trials; its default of 5 s would leave slots empty


class Epochs(TunerCallback):
    """Counts the epochs that trials report."""

    number = 0

    def on_trial_result(self, *args: Any, **kwargs: Any) -> None:
        self.number += 1


def main() -> None:
    setting = given_setting()
    logging.getLogger().setLevel(logging.WARNING)
    project = Path(__file__).resolve().parents[2]
    folder = Path(setting.folder).resolve()
    setting_file = Path(sys.argv[1]).resolve()
    os.chdir(folder)  # its count of GPUs leaves a file in the working directory
    os.environ["SYNETUNE_FOLDER"] = str(folder / "syne-tune")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")])
    space = {knob: loguniform(*limits) if knob in LOGARITHMIC else uniform(*limits) for knob, limits in RANGES.items()}
    counted = Epochs()
    tuner = Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("syne_trial.py"))),
        scheduler=ASHA(
            {**space, "setting": str(setting_file)},
            metric="accuracy",
            time_attr="epoch",
            max_t=setting.num_epochs,
            do_minimize=False,
            grace_period=GRACE_EPOCHS,
            reduction_factor=REDUCTION_FACTOR,
            random_seed=setting.seed,
        ),
        stop_criterion=StoppingCriterion(max_num_trials_started=setting.num_trials - 1),  # stops above it
        n_workers=setting.num_slots,
        sleep_time=SLEEP_SECONDS,
        wait_trial_completion_when_stopping=True,
        callbacks=[counted],
        save_tuner=False,
    )
    started = time.perf_counter()
    tuner.run()
    seconds = time.perf_counter() - started
    status = tuner.tuning_status
    if status.num_trials_failed:
        raise RuntimeError(f"{status.num_trials_failed} trials failed: see {folder / 'syne-tune'}")
    say(Tuned(seconds=seconds, trials=status.num_trials_started, epochs=counted.number))


if __name__ == "__main__":
    main()
