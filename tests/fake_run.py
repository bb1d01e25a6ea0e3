"""A synthetic run directory, written through study.records: what tests of the page and its figures read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from study import records

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASS_COUNTS = (450, 450, 450, 450, 450, 4500, 4500, 4500, 4500, 4500)
SIX_ARMS = ("none", "inverse_weights", "class_balanced", "focal", "logit_adjustment", "weighted_sampler")
FOURTEEN_ARMS = (
    *SIX_ARMS,
    "ldam",
    "ldam_drw",
    "balanced_softmax",
    "drs_square_root",
    "crt",
    "mixup",
    "remix",
    "class_balanced_focal",
)
# How far each arm lies above `none` in truth; the rest get 0.02.
LIFT = {
    "none": 0.0,
    "weighted_sampler": 0.07,
    "logit_adjustment": 0.06,
    "class_balanced": 0.04,
    "focal": 0.005,
}
KNOBS: dict[str, tuple[str, Sequence[float]]] = {
    "inverse_weights": ("class_weight_exponent", (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)),
    "class_balanced": ("class_weight_beta", (0.99, 0.999, 0.9999, 0.99999)),
    "focal": ("focal_gamma", (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)),
    "logit_adjustment": ("logit_adjustment_tau", (0.5, 0.8, 1.0, 1.3, 1.7, 2.0)),
    "weighted_sampler": ("sampler_exponent", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
}
NUM_TRIALS, MAX_EPOCHS, RUNG_EPOCHS, IMAGES_PER_EPOCH = 6, 9, (1, 3), 24_750


def write_run(
    run_dir: Path,
    *,
    arms: Sequence[str] = SIX_ARMS,
    retest_seeds: Sequence[int] = (1, 2, 3),
    class_names: Sequence[str] = CLASS_NAMES,
    class_counts: Sequence[int] = CLASS_COUNTS,
    never_completed: Sequence[str] = (),
    failed: Sequence[str] = (),
    interrupted: bool = False,
    lift: dict[str, float] | None = None,
    early_stopping: bool = True,
    with_trials: bool = True,
) -> Path:
    """Write a run directory.

    failed: ids of trials that fail in epoch 3. never_completed: arms whose trials all stop early.
    """
    rng = np.random.default_rng(7)
    lifts = {**dict.fromkeys(arms, 0.02), **LIFT, **(lift or {})}
    trials: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    rungs: list[dict[str, Any]] = []
    for arm in arms if with_trials else ():
        passed: dict[int, list[float]] = {rung: [] for rung in RUNG_EPOCHS}
        for number in range(NUM_TRIALS - (3 if interrupted and arm == arms[-1] else 0)):
            trial_id = f"{arm}-{number:04d}"
            config = _config(arm, number, rng)
            plateau = 0.62 + lifts[arm] - 0.05 * (np.log10(config["config/learning_rate"]) + 1.2) ** 2
            status, message, value = "completed", None, 0.0
            for epoch in range(1, MAX_EPOCHS + 1):
                value = float(plateau * (1 - 0.75 * np.exp(-epoch / 2.5)) + rng.normal(0, 0.008))
                epochs.append(
                    _epoch(trial_id, "tune", arm, epoch, value, config["config/learning_rate"], rng)
                )
                if trial_id in failed and epoch == 3:
                    status, message = "failed", "RuntimeError: loss is not finite <step 212> & stopped"
                    break
                if interrupted and arm == arms[-1] and number == 2 and epoch == 4:
                    status = "interrupted"
                    break
                if epoch in RUNG_EPOCHS and early_stopping:
                    peers = passed[epoch]
                    cutoff = float(np.quantile(peers, 2 / 3)) if peers else None
                    stop = arm in never_completed or (cutoff is not None and value < cutoff)
                    rungs.append(
                        {
                            "trial_id": trial_id,
                            "stage": "tune",
                            "arm": arm,
                            "rung_epoch": epoch,
                            "value": value,
                            "cutoff": cutoff,
                            "num_peers": len(peers),
                            "decision": "stop" if stop else "continue",
                        }
                    )
                    peers.append(value)
                    if stop:
                        status = "stopped"
                        break
            trials.append(
                {
                    "trial_id": trial_id,
                    "stage": "tune",
                    "arm": arm,
                    "number": number,
                    "status": status,
                    "message": message,
                    "epochs": epoch,
                    "images": epoch * IMAGES_PER_EPOCH,
                    "seed": 1000 + number,
                    "objective": None if status == "failed" else value,
                    "train_seconds": 17.5 * epoch,
                    **config,
                }
            )
    winners = _winners(trials)
    retests = [] if interrupted else _retests(winners, retest_seeds, class_names, lifts, epochs, rng)
    run_dir.mkdir(parents=True, exist_ok=True)
    extra = sorted({name for row in trials for name in row if "/" in name})
    columns = {name: records.column_type(row.get(name) for row in trials) for name in extra}
    columns = columns or {"config/learning_rate": pa.float64()}
    records.write_table(run_dir / "trials.parquet", trials, records.with_columns(records.TRIALS, columns))
    records.write_table(run_dir / "epochs.parquet", epochs, records.EPOCHS)
    records.write_table(run_dir / "rungs.parquet", rungs, records.RUNGS)
    records.write_table(run_dir / "retests.parquet", retests, records.RETESTS)
    summary = _summary(arms, class_names, class_counts, winners, len(retest_seeds), interrupted)
    (run_dir / "summary.json").write_text(json.dumps(summary))
    (run_dir / "spec.json").write_text(json.dumps({"task": "imbalance", "seed": 0}))
    return run_dir


def edit_summary(run_dir: Path, **changes: Any) -> None:
    path = run_dir / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _config(arm: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    config: dict[str, Any] = {
        "factor/loss": arm if arm in ("focal", "logit_adjustment") else "cross_entropy",
        "factor/class_weighting": arm if arm in ("inverse_weights", "class_balanced") else "none",
        "factor/sampler": "power" if arm == "weighted_sampler" else "uniform",
        "config/learning_rate": float(10 ** rng.uniform(-2, -0.5)),
        "config/momentum": float(rng.uniform(0.7, 0.97)),
        "config/weight_decay": float(10 ** rng.uniform(-5, -2)),
        "config/schedule": "cosine",
        "config/batch_size": 128,
    }
    if arm in KNOBS:
        name, values = KNOBS[arm]
        config[f"config/{name}"] = values[number % len(values)]
    return config


def _epoch(
    trial_id: str, stage: str, arm: str, epoch: int, value: float | None, learning_rate: float, rng: Any
) -> dict[str, Any]:
    return {
        "trial_id": trial_id,
        "stage": stage,
        "arm": arm,
        "epoch": epoch,
        "images": IMAGES_PER_EPOCH,
        "train_loss": float(2.1 * np.exp(-epoch / 5) + 0.2 + rng.normal(0, 0.02)),
        "learning_rate": learning_rate,
        "val_balanced_accuracy": value,
        "val_accuracy": value,
        "val_loss": None if value is None else 1.2,
        "train_seconds": 17.5,
        "eval_seconds": 1.5,
        "time": None,
        "gpu_ids": None,
        "weights_sha256": None,
    }


def _winners(trials: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    winners: dict[str, dict[str, Any]] = {}
    for row in (row for row in trials if row["status"] == "completed"):
        best = winners.get(row["arm"])
        if best is None or row["objective"] > best["objective"]:
            winners[row["arm"]] = row
    return winners


def _retests(
    winners: dict[str, dict[str, Any]],
    seeds: Sequence[int],
    class_names: Sequence[str],
    lifts: dict[str, float],
    epochs: list[dict[str, Any]],
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    retests: list[dict[str, Any]] = []
    num_classes, shared = len(class_names), {seed: rng.normal(0, 0.005) for seed in seeds}
    for arm, winner in winners.items():
        for seed in seeds:
            for epoch in range(1, MAX_EPOCHS + 1):
                rate = winner["config/learning_rate"]
                epochs.append(_epoch(winner["trial_id"], "retest", arm, epoch, None, rate, rng))
            tilt = np.where(
                np.arange(num_classes) < num_classes // 2, -0.16 + 2 * lifts[arm], 0.16 - lifts[arm]
            )
            recall = 0.64 + tilt + shared[seed] + rng.normal(0, 0.012, num_classes)
            confusion = [[0] * num_classes for _ in range(num_classes)]
            for true in range(num_classes):
                correct = round(1000 * float(np.clip(recall[true], 0, 1)))
                share = rng.dirichlet(np.ones(num_classes - 1))
                wrong = rng.multinomial(1000 - correct, share)
                confusion[true] = [int(n) for n in np.insert(wrong, true, correct)]
            score = float(np.mean([confusion[j][j] / 1000 for j in range(num_classes)]))
            retests.append(
                {
                    "arm": arm,
                    "trial_id": winner["trial_id"],
                    "seed": seed,
                    "num_train": 27_500,
                    "test_balanced_accuracy": score,
                    "test_accuracy": score,
                    "test_macro_f1": score - 0.01,
                    "test_worst_class_recall": min(confusion[j][j] / 1000 for j in range(num_classes)),
                    "test_nll": 1.1 - lifts[arm] * 3,
                    "test_ece": 0.08 - lifts[arm] / 2,
                    "per_class_recall": [confusion[j][j] / 1000 for j in range(num_classes)],
                    "confusion_matrix": confusion,
                    "train_indices_sha256": "0" * 64,
                    "weights_sha256": "1" * 64,
                    "train_seconds": 190.0,
                }
            )
    return retests


def _summary(
    arms: Sequence[str],
    class_names: Sequence[str],
    class_counts: Sequence[int],
    winners: dict[str, dict[str, Any]],
    num_seeds: int,
    interrupted: bool,
) -> dict[str, Any]:
    command = "python -m study.run imbalance --dataset cifar10 --budget quick --name demo"
    return {
        "name": "demo",
        "task": "imbalance",
        "state": "interrupted" if interrupted else "complete",
        "command": command,
        "resume_command": "python -m study.resume reports/demo",
        "dataset": {
            "name": "cifar10",
            "origin": "Parquet files under the data root",
            "fingerprint": "c0ffee" * 10,
            "num_classes": len(class_names),
            "class_names": list(class_names),
            "class_counts": list(class_counts),
            "num_train": sum(class_counts),
            "num_val": 5000,
            "num_test": 10_000,
            "image_size": 32,
        },
        "imbalance": {"kind": "step", "ratio": 10.0, "classes": "first"},
        "arms": list(arms),
        "control": "none",
        "arm_descriptions": {arm: f"what {arm} does, in one line" for arm in arms},
        "not_retested": {arm: "no trial completed" for arm in arms if arm not in winners},
        "winners": {
            arm: {
                "trial_id": row["trial_id"],
                "objective": row["objective"],
                "epochs": row["epochs"],
                "config": {name[7:]: value for name, value in row.items() if name.startswith("config/")},
                "command": f"{command} --arms {arm} --learning-rate {row['config/learning_rate']:.5g}",
            }
            for arm, row in winners.items()
        },
        "budget": {
            "name": "quick",
            "trials_per_arm": NUM_TRIALS,
            "max_epochs": MAX_EPOCHS,
            "grace_epochs": 1,
            "reduction_factor": 3,
            "searcher": "tpe",
            "retest_seeds": num_seeds,
        },
        "sessions": [
            {
                "started": "2025-01-02T03:04:05+00:00",
                "ended": None if interrupted else "2025-01-02T04:04:05+00:00",
                "wall_seconds": 3600.0,
                "tune_seconds": 2600.0,
                "retest_seconds": None if interrupted else 900.0,
            }
        ],
        "hardware": {"cpu": "Example CPU @ 2.0 GHz", "cpus": 2, "gpus": [], "memory_gb": 16.0},
        "versions": {"python": "3.11.9", "ray": "2.60.0", "optuna": "5.0.0", "torch": "2.13.0"},
        "commit": None,
        "numerics": {"threads": 1, "bf16": False, "channels_last": True},
        "seed": 0,
        "ledger_milliseconds_per_event": 0.31,
        "objective": "val_balanced_accuracy",
    }
