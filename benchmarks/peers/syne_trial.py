"""A trial of syne.py, in a process of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from syne_tune import Reporter

from benchmarks.setting import RANGES, read_setting
from trainables.tasks.baseline import BASELINE


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--setting", type=Path)
    for knob in RANGES:
        parser.add_argument(f"--{knob}", type=float)
    given, _ = parser.parse_known_args()
    setting = read_setting(given.setting)
    torch.set_num_threads(1)
    data, report = setting.data(), Reporter()
    learner = setting.learner(data, {knob: getattr(given, knob) for knob in RANGES})
    while learner.epoch < learner.num_epochs:
        learner.train_epoch()
        report(epoch=learner.epoch, accuracy=BASELINE.validate(learner, data)["accuracy"])


if __name__ == "__main__":
    main()
