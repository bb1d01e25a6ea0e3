"""A synthetic run directory of a reproduction, of numbers that are easily worked out by hand.

The test score of a run is its FINAL, plus the seed's offset, times SHAPE over the epochs: so its mean is FINAL, its
deviation over three seeds .01, its best epoch the third at 1.02 times the last; from the third on it is within 95 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.records import tables as records

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE, IMAGES_PER_EPOCH = (0.6, 0.9, 1.02, 1.0), 50_000
OFFSETS = (-0.01, 0.0, 0.01)
SEEDS = (1000, 1001, 1002)
NO_DATA = "no EuroSAT under data"
FAILURE = "RuntimeError: loss is not finite <step 212> & stopped"
FINAL: Mapping[str, float] = {
    "s0_base": 0.78,
    "s0_base.augmented": 0.88,
    "s0_flag_downweight": 0.60,
    "s0_flag_downweight.thinned_once": 0.50,
    "s0_flag_downweight.untreated": 0.52,
    "s0_flag_downweight.as_meant": 0.65,
    "s1_cnn": 0.72,
    "s1_step_none": 0.50,
    "s1_jigsaw2x2": 0.64,
    "s1_jigsaw2x2.fresh": 0.70,
    "s1_unprinted": 0.61,
    "s3_c100": 0.30,
    "s4_lenet_4ep": 0.57,
}
REVERSED = {"s0_base.augmented"}  # its seeds' offsets run the other way, so that paired differences spread
PUZZLES = {"s1_jigsaw2x2": "test_exact_accuracy_argmax", "s1_jigsaw2x2.fresh": "test_exact_accuracy"}
ASSIGNMENT_GAIN = 0.04  # of puzzles, what the optimal assignment solves more than the row argmax
NOT_RUN = ("s2_taskA_adam", "s2_lt_cb")


def _recipe(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "source": name[:2],
        "says": f"what {name} is",
        "dataset": "cifar10",
        "fault": f"the fault of {name}",
        "choices": "the choices of all",
        "reported": [],
        "reported_per_class": [],
        "corrected": None,
        "cause": None,
        "runs": [run for run in (*FINAL, *NOT_RUN) if run.split(".")[0] == name],
        **fields,
    }


def _test(value: float) -> dict[str, Any]:
    return {"what": "test accuracy", "column": "test_accuracy", "value": value}


def recipes() -> list[dict[str, Any]]:
    training = {"what": "training accuracy", "column": "train_eval_accuracy", "value": 0.61}
    return [
        _recipe("s0_base", reported=[_test(0.79)], corrected="s0_base.augmented"),
        _recipe(
            "s0_flag_downweight",
            reported=[_test(0.67)],
            corrected="s0_flag_downweight.thinned_once",
            cause={"text": "the mask was meant otherwise", "run": "s0_flag_downweight.as_meant"},
        ),
        _recipe("s1_cnn", reported=[_test(0.7259)], corrected="last epoch"),
        _recipe("s1_step_none", reported=[_test(0.5924)], corrected="last epoch"),
        _recipe(
            "s1_jigsaw2x2",
            reported=[
                {"what": "puzzles solved, by row argmax", "column": "test_exact_accuracy_argmax", "value": 0.6593},
                {"what": "tiles in place, by row argmax", "column": "test_tile_accuracy_argmax", "value": 0.7918},
                {"what": "confidence", "column": "test_confidence", "value": 0.7309},
            ],
            corrected="s1_jigsaw2x2.fresh",
        ),
        _recipe("s1_unprinted"),
        _recipe("s2_taskA_adam", dataset="eurosat", reported=[_test(0.967)], corrected="last epoch"),
        _recipe("s2_lt_cb", dataset="eurosat", corrected="last epoch"),
        _recipe(
            "s3_c100",
            reported=[_test(0.493), {**_test(0.4896), "what": "test accuracy, last epoch"}],
            corrected="last epoch",
        ),
        _recipe(
            "s4_lenet_4ep", reported=[_test(0.57), training], corrected="last epoch", reported_per_class=[0.33, 0.79]
        ),
    ]


def write_reproduction(
    run_dir: Path,
    *,
    state: str = "complete",
    num_seeds: int = 3,
    runs: Sequence[str] = tuple(FINAL),
    num_epochs: int = 4,
    scale: float = 1.0,
    dataset_override: str | None = None,
) -> Path:
    """Write a run directory in which one seed of s1_step_none failed. runs: those of which rows are there."""
    run_dir.mkdir(parents=True, exist_ok=True)
    rows, epochs = [], []
    for run in runs:
        for place, seed in enumerate(SEEDS[:num_seeds]):
            if not (run == "s1_step_none" and place == 2):
                rows.append(_run_row(run, seed, place, num_epochs))
                epochs += [_epoch_row(run, seed, place, epoch, num_epochs) for epoch in range(1, num_epochs + 1)]
    records.write_table(run_dir / "runs.parquet", rows, records.RUNS)
    records.write_table(run_dir / "epochs.parquet", epochs, records.RUN_EPOCHS)
    summary = _summary(state, num_seeds, num_epochs, scale, dataset_override)
    (run_dir / "summary.json").write_text(json.dumps(summary))
    (run_dir / "spec.json").write_text(json.dumps({"task": "reproduce", "seed": 0}))
    return run_dir


def _scores(run: str, place: int, epoch: int, num_epochs: int) -> dict[str, Any]:
    offset = -OFFSETS[place] if run in REVERSED else OFFSETS[place]
    score = (FINAL[run] + offset) * (SHAPE[epoch - 1] if num_epochs > 1 else 1.0)
    if run in PUZZLES:
        assigned = score if PUZZLES[run] == "test_exact_accuracy" else score + ASSIGNMENT_GAIN
        return {
            "test_exact_accuracy": assigned, "test_exact_accuracy_argmax": assigned - ASSIGNMENT_GAIN,
            "test_tile_accuracy": score + 0.1, "test_tile_accuracy_argmax": score + 0.1,
            "test_confidence": score, "test_invalid_argmax": 0.05, "test_loss": 0.3,
        }  # fmt: skip
    return {"test_accuracy": score, "train_eval_accuracy": score + 0.05, "train_eval_loss": 0.5, "test_loss": 0.9}


def _epoch_row(run: str, seed: int, place: int, epoch: int, num_epochs: int) -> dict[str, Any]:
    return {
        "run": run, "seed": seed, "epoch": epoch, "images": IMAGES_PER_EPOCH, "train_loss": 1.0 / epoch,
        "learning_rate": 0.001, "train_seconds": 5.0, **_scores(run, place, epoch, num_epochs),
    }  # fmt: skip


def _run_row(run: str, seed: int, place: int, num_epochs: int) -> dict[str, Any]:
    is_cut = _imbalance(run) == "step"
    counts = [500] * 5 + [5000] * 5 if is_cut else [5000] * 10
    is_puzzle = run in PUZZLES
    recall = None if is_puzzle else [(FINAL[run] + OFFSETS[place]) * (0.5 if is_cut else 1.0)] * 5 + [0.8] * 5
    return {
        "run": run, "recipe": run.split(".")[0], "kind": _kind(run), "seed": seed, "num_epochs": num_epochs,
        "num_train": sum(counts), "per_class_recall": recall, "drawn_per_class": None if is_puzzle else counts,
        "distinct_per_class": None if is_puzzle else counts,
        "train_indices_sha256": "a" * 64, "weights_sha256": "b" * 64, "train_seconds": 5.0 * num_epochs,
        **_scores(run, place, num_epochs, num_epochs),
    }  # fmt: skip


def _imbalance(run: str) -> str | None:
    if run == "s2_lt_cb":
        return "exponential"
    return "step" if run.endswith(("thinned_once", "untreated", "step_none")) else None


def _kind(run: str) -> str:
    if "." not in run:
        return "recipe"
    return {"as_meant": "cause", "untreated": "control"}.get(run.split(".")[1], "corrected")


def _run(name: str, num_seeds: int, num_epochs: int, scale: float) -> dict[str, Any]:
    own = 0.02 if name == "s3_c100" else scale
    config: dict[str, Any] = {"optimizer": "adam", "learning_rate": 1e-3, "augmentation": "none", "sampler": "shuffle"}
    if name in ("s0_flag_downweight", "s0_flag_downweight.as_meant"):
        config["sampler"] = "mask_in_loop"
    if name == "s0_base.augmented":
        config["augmentation"] = "crop_flip"
    return {
        "recipe": name.split(".")[0],
        "kind": _kind(name),
        "says": f"what {name} is",
        "task": "recipe_puzzles" if name in PUZZLES else "recipe",
        "score": PUZZLES.get(name, "test_accuracy"),
        "scale": own,
        "num_epochs": num_epochs,
        "full_epochs": round(num_epochs / own),
        "num_train": None if name in NOT_RUN else round(own * (27_500 if _imbalance(name) == "step" else 50_000)),
        "class_counts": None,
        "imbalance": _imbalance(name),
        "begins_with": None,
        "config": config,
        "not_run": NO_DATA if name in NOT_RUN else None,
        "failures": {str(SEEDS[2]): FAILURE} if name == "s1_step_none" and num_seeds == 3 else {},
    }


def _summary(state: str, num_seeds: int, num_epochs: int, scale: float, dataset_override: str | None) -> dict[str, Any]:
    dataset = dataset_override or "cifar10"
    return {
        "task": "reproduce",
        "name": "demo",
        "state": state,
        "command": "python -m study.reproduce all --seeds 3 --name demo",
        "resume_command": "python -m study.resume reports/demo",
        "seed": 0,
        "seeds": num_seeds,
        "dataset_override": dataset_override,
        "recipes": recipes(),
        "runs": {name: _run(name, num_seeds, num_epochs, scale) for name in (*FINAL, *NOT_RUN)},
        "ablations": [
            {
                "name": "mask",
                "title": "The mask in the loop, or the data thinned once",
                "rows": ["in the loop", "thinned once"],
                "columns": ["ResNet", "small CNN"],
                "cells": [
                    ["s0_flag_downweight", "s0_flag_downweight.small_cnn"],
                    ["s0_flag_downweight.thinned_once", "s2_taskA_adam"],
                ],
                "counts_images": True,
            }
        ],
        "curves": [
            {
                "name": "demo", "title": "Two nets over epochs", "caption": "What was drawn.",
                "runs": [["base", "s0_base"], ["small", "s3_c100"], ["absent", "s2_taskA_adam"]],
                "reported": [
                    {"what": "test accuracy", "column": "test_accuracy", "values": [[1, 0.4], [2, 0.7]],
                     "later": [3, 0.75, 0.8]},
                    {"what": "training loss", "column": "train_eval_loss", "values": [[1, 0.9]]},
                ],
            },
            {
                "name": "absent", "title": "Nets that did not run", "caption": "", "runs": [["a", "s2_taskA_adam"]],
                "has_vanishing_loss": True,
            },
        ],
        "claims": [
            {
                "name": "gain", "says": "more is better", "expects": "higher", "reported": [0.5, 0.65],
                "pairs": [["a ResNet", "s0_base.augmented", "s0_base"], ["a CNN", "s2_lt_cb", "s1_cnn"]],
            },
            {
                "name": "scales", "says": "scale matters", "expects": "not higher",
                "pairs": [["both", "s3_c100", "s1_cnn"], ["neither", "s9_a", "s9_b"]],
            },
        ],
        "tuned": {
            "s0_base": {
                "study": "reports/gallery/baseline", "arm": "resnet18", "column": "test_accuracy", "mean": 0.9012,
                "low": 0.8968, "high": 0.9056, "n": 3, "epochs": 9, "trials": 16,
            },
            "s4_lenet_4ep": {  # of an older file
                "study": "reports/gallery/baseline", "arm": "lenet", "column": "test_accuracy", "mean": 0.68,
                "low": None, "high": None, "n": 1,
            },
            "s1_cnn": {"absent": "the study has no such arm"},
        },
        "datasets": {
            dataset: {
                "name": dataset, "origin": "CIFAR-10, read from data/cifar10 (Parquet)", "num_classes": 10,
                "class_names": list(CLASS_NAMES), "num_train": 45_000, "num_val": 5_000, "num_test": 10_000,
                "fingerprint": "f" * 64,
            }
        },
        "sessions": [
            {"started": "2026-11-22T07:30:12+00:00", "ended": "2026-11-22T08:08:46+00:00", "command": "…",
             "state": state, "wall_seconds": 2314.0}
        ],
        "hardware": {"cpu": "A processor", "cpus": 2.0, "gpus": [], "memory_gb": 25.3},
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "commit": "c" * 40,
        "numerics": {"precision": "bfloat16", "num_threads": 1},
        "ledger_milliseconds_per_event": 1.28,
    }  # fmt: skip
