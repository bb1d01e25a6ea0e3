"""A synthetic run directory of any task, written through study.records: what tests of the page and its figures read."""

from __future__ import annotations

import functools
import io
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pyarrow as pa

from study.records import tables as records

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
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
KNOBS: dict[str, tuple[str, Sequence[float]]] = {
    "inverse_weights": ("class_weight_exponent", (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)),
    "class_balanced": ("class_weight_beta", (0.99, 0.999, 0.9999, 0.99999)),
    "focal": ("focal_gamma", (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)),
    "logit_adjustment": ("logit_adjustment_tau", (0.5, 0.8, 1.0, 1.3, 1.7, 2.0)),
    "weighted_sampler": ("sampler_exponent", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
}
NUM_TRIALS, MAX_EPOCHS, RUNG_EPOCHS, IMAGES_PER_EPOCH = 6, 9, (1, 3), 24_750
PRETEXT_ARM, PRETEXT_EPOCHS, GRID = "jigsaw_2x2", 6, 2
TAUS = tuple(round(0.1 * step, 1) for step in range(21))
OPTIMIZERS = ("sgd", "adam", "adamw")


SHARED_KNOBS = {
    "learning_rate": {"scale": "log", "low": 0.001, "high": 1.0},
    "momentum": {"scale": "linear", "low": 0.5, "high": 1.0},
    "weight_decay": {"scale": "log", "low": 1e-6, "high": 1e-2},
}


@dataclass(frozen=True, kw_only=True)
class FakeTask:
    """lift: how far an arm lies above the first in truth; the rest get 0.02. epochs: of full trials that differ.

    retest_counts: the retests' training images of each class; None: not recorded, as by earlier versions.
    """

    groups: Sequence[Mapping[str, Any]]
    lift: Mapping[str, float]
    dataset: str = "cifar10"
    class_names: Sequence[str] = CLASS_NAMES
    class_counts: Sequence[int] = (4500,) * 10
    retest_counts: Sequence[int] | None = None
    superclass_names: Sequence[str] | None = None
    superclass_of: Sequence[int] | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    score: str = "test_accuracy"
    objective: str = "val_accuracy"
    epochs: Mapping[str, int] = field(default_factory=dict)
    taus: Sequence[float] | None = None

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(arm for group in self.groups for arm in group["arms"])


def one_group(control: str | None, arms: Sequence[str]) -> list[dict[str, Any]]:
    return [{"title": "", "control": control, "arms": list(arms)}]


def _factors(arm: str) -> dict[str, str]:
    """Of jigsaw's arms, what summary.json records of them."""
    name, _, share = arm.rpartition("_")
    if not share.endswith("pct"):
        return {}
    return {"initialisation": name, "label_fraction": str(float(share.removesuffix("pct")) / 100)}


def _label_group(percent: int) -> dict[str, Any]:
    arms = [f"{name}_{percent}pct" for name in ("scratch", "scratch_equal_epochs", "jigsaw")]
    return {"title": f"{percent} % of the labels", "control": arms[0], "arms": arms}


FAKES: dict[str, FakeTask] = {
    "imbalance": FakeTask(
        groups=one_group("none", SIX_ARMS),
        lift={"none": 0.0, "weighted_sampler": 0.07, "logit_adjustment": 0.06, "class_balanced": 0.04, "focal": 0.005},
        class_counts=(450,) * 5 + (4500,) * 5,
        setting={"kind": "step", "ratio": 10.0, "classes": "first"},
        score="test_balanced_accuracy",
        objective="val_balanced_accuracy",
        taus=TAUS,
    ),
    "baseline": FakeTask(
        groups=one_group("lenet", ("lenet", "small_cnn", "resnet9")),
        lift={"lenet": 0.0, "small_cnn": 0.1, "resnet9": 0.22},
    ),
    "cifar100": FakeTask(
        groups=one_group("memorise", ("memorise", "plain", "augmented", "regularised", "both", "deeper")),
        lift={"memorise": -0.1, "plain": 0.0, "augmented": 0.08, "regularised": 0.02, "both": 0.1, "deeper": 0.09},
        dataset="digit-pairs",
        class_names=tuple(f"{number:02d}" for number in range(100)),
        class_counts=(45,) * 100,
        superclass_names=tuple(f"tens {tens}" for tens in range(10)),
        superclass_of=tuple(number // 10 for number in range(100)),
        setting={"model": "resnet20", "deeper": "resnet32"},
    ),
    "jigsaw": FakeTask(
        groups=[_label_group(10), _label_group(100)],
        lift={"scratch_10pct": -0.1, "scratch_equal_epochs_10pct": -0.08, "jigsaw_10pct": 0.0, "scratch_100pct": 0.1,
              "scratch_equal_epochs_100pct": 0.12, "jigsaw_100pct": 0.12},
        setting={"grid": GRID, "label_fractions": [0.1, 1.0], "pretext_epochs": PRETEXT_EPOCHS,
                 "pretext_arm": PRETEXT_ARM, "passes_per_epoch": {"0.1": 3, "1.0": 1}},
        epochs=dict.fromkeys(
            ("scratch_equal_epochs_10pct", "scratch_equal_epochs_100pct"), MAX_EPOCHS + PRETEXT_EPOCHS
        ),
    ),
}  # fmt: skip


LONG_TAIL_ARMS = (
    "none",
    "weighted_sampler",
    "class_balanced_weighted_sampler",
    "balanced_softmax",
    "logit_adjustment",
    "ldam_drw",
)
SUPERCLASSES = (
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices",
    "household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates",
    "people", "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
)  # fmt: skip
"""Those of CIFAR-100."""


def _tail(largest: int, ratio: float, num_classes: int) -> tuple[int, ...]:
    return tuple(int(largest * ratio ** (-j / (num_classes - 1)) + 1e-9) for j in range(num_classes))


_LIFTS = {"none": 0.0, "balanced_softmax": 0.07, "ldam_drw": 0.06, "class_balanced_weighted_sampler": 0.03}
_MANY = FakeTask(
    groups=one_group("none", LONG_TAIL_ARMS),
    lift=_LIFTS,
    dataset="cifar100",
    class_names=tuple(f"class {number}" for number in range(100)),
    class_counts=_tail(450, 100, 100),
    retest_counts=_tail(500, 100, 100),
    superclass_names=SUPERCLASSES,
    superclass_of=tuple(number % 20 for number in range(100)),
    setting={"kind": "exponential", "ratio": 100.0, "classes": "last"},
    score="test_balanced_accuracy",
    objective="val_balanced_accuracy",
    taus=TAUS,
)
LONG_TAILS: dict[str, FakeTask] = {
    "hundred": _MANY,
    "ten": replace(
        _MANY,
        dataset="eurosat",
        class_names=CLASS_NAMES,
        class_counts=_tail(2250, 100, 10),
        retest_counts=_tail(2500, 100, 10),
        superclass_names=None,
        superclass_of=None,
    ),
}
"""Fakes of the imbalance task on long tails."""


def made_once(write: Callable[..., Path]) -> Callable[..., Path]:
    """Options give the same files each time, so they are made at the first, and copied from then on."""
    made: dict[str, dict[str, bytes]] = {}

    @functools.wraps(write)
    def written(run_dir: Path, **options: Any) -> Path:
        key = repr(sorted(options.items()))
        if key not in made:
            with tempfile.TemporaryDirectory() as folder:
                made[key] = {path.name: path.read_bytes() for path in write(Path(folder), **options).iterdir()}
        run_dir.mkdir(parents=True, exist_ok=True)
        for name, content in made[key].items():
            (run_dir / name).write_bytes(content)
        return run_dir

    return written


@made_once
def write_run(
    run_dir: Path,
    *,
    task: str = "imbalance",
    fake: FakeTask | None = None,
    arms: Sequence[str] | None = None,
    control: str | None = "none",
    retest_seeds: Sequence[int] = (1, 2, 3),
    class_names: Sequence[str] | None = None,
    never_completed: Sequence[str] = (),
    failed: Sequence[str] = (),
    interrupted: bool = False,
    lift: Mapping[str, float] | None = None,
    early_stopping: bool = True,
    with_trials: bool = True,
    num_trials: int = NUM_TRIALS,
    max_epochs: int = MAX_EPOCHS,
    stops: bool = True,
    control_trials: int = 0,
    searches: int = 1,
) -> Path:
    """Write a run directory.

    control_trials: so many of random search in each search of each arm, whose winner and the default are retested too.

    fake: another one than the task's. arms, control: other than its own, in one group. failed: ids of trials that fail
    in epoch 3. never_completed: arms whose trials all stop early. num_trials: of each arm; max_epochs: of a full trial.
    stops: whether a trial below the cutoff ends; if not, early stopping decides and every trial goes on.
    """
    fake = fake or FAKES[task]
    groups = list(fake.groups) if arms is None else one_group(control, arms)
    arms = tuple(arm for group in groups for arm in group["arms"])
    class_names = class_names or fake.class_names
    lifts = {**dict.fromkeys(arms, 0.02), **fake.lift, **(lift or {})}
    rng = np.random.default_rng(7)
    run = _Run(task=task, fake=fake, lifts=lifts, class_names=class_names, rng=rng)
    full_epochs = {arm: fake.epochs.get(arm, max_epochs) for arm in arms}
    if with_trials:
        if task == "jigsaw":
            run.tune("pretext", PRETEXT_ARM, NUM_TRIALS, PRETEXT_EPOCHS, early_stopping=early_stopping)
        for arm in arms:
            is_cut_short = interrupted and arm == arms[-1]
            run.tune(
                "tune", arm, num_trials - 3 * is_cut_short, full_epochs[arm], early_stopping=early_stopping,
                stops=stops, never_completes=arm in never_completed, failed=failed,
                interrupts=2 if is_cut_short else None,
            )  # fmt: skip
            for number in range(1, searches + 1):
                if number > 1:
                    run.tune("tune", arm, num_trials, full_epochs[arm], search=number)
                if control_trials:
                    run.tune("tune", arm, control_trials, full_epochs[arm], search=number, control="random")
    if not interrupted:
        for number in range(1, searches + 1):
            run.retest([seed + (number - 1) * len(retest_seeds) for seed in retest_seeds], number)
    run.write(run_dir)
    summary = _summary(run, groups, full_epochs, len(retest_seeds), interrupted)
    summary["references"] = run.references
    summary["budget"] |= {"searches": searches, "control_trials": control_trials}
    summary["budget"] |= {"control": "random" if control_trials else None, "retest_default": control_trials > 0}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    (run_dir / "spec.json").write_text(json.dumps({"task": task, "seed": 0}))
    return run_dir


def edit_summary(run_dir: Path, **changes: Any) -> None:
    path = run_dir / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class _Run:
    """The rows of a run's tables while they are made up."""

    def __init__(
        self, *, task: str, fake: FakeTask, lifts: Mapping[str, float], class_names: Sequence[str], rng: Any
    ) -> None:
        self.task, self.fake, self.lifts, self.class_names, self.rng = task, fake, lifts, class_names, rng
        self.trials: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.rungs: list[dict[str, Any]] = []
        self.retests: list[dict[str, Any]] = []
        self.puzzles: list[dict[str, Any]] = []
        self.references: list[dict[str, Any]] = []

    # --- tuning

    def tune(
        self, stage: str, arm: str, num_trials: int, num_epochs: int, *, early_stopping: bool = True,
        stops: bool = True, never_completes: bool = False, failed: Sequence[str] = (), interrupts: int | None = None,
        search: int = 1, control: str | None = None,
    ) -> None:  # fmt: skip
        """Trials of one arm. interrupts: the trial that ends in epoch 4 because the study does."""
        passed: dict[int, list[float]] = {rung: [] for rung in RUNG_EPOCHS}
        for number in range(num_trials):
            words = [*([f"s{search}"] if search > 1 else []), *([control] if control else [])]
            trial_id = "-".join([arm, *words, f"{number:04d}"])
            config = self._config(stage, arm, number)
            plateau = 0.62 + self.lifts.get(arm, 0.0) - 0.05 * (np.log10(config["config/learning_rate"]) + 1.2) ** 2
            status, message, value = "completed", None, 0.0
            for epoch in range(1, num_epochs + 1):
                value = float(plateau * (1 - 0.75 * np.exp(-epoch / 2.5)) + self.rng.normal(0, 0.008))
                self.epochs.append(self._tuning_epoch(trial_id, stage, arm, epoch, value, config))
                if trial_id in failed and epoch == 3:
                    status, message = "failed", "RuntimeError: loss is not finite <step 212> & stopped"
                    break
                if interrupts == number and epoch == 4:
                    status = "interrupted"
                    break
                if epoch in RUNG_EPOCHS and early_stopping:
                    peers = passed[epoch]
                    cutoff = float(np.quantile(peers, 2 / 3)) if peers else None
                    stop = never_completes or (stops and cutoff is not None and value < cutoff)
                    rung = {"rung_epoch": epoch, "value": value, "cutoff": cutoff, "num_peers": len(peers)}
                    decision = "stop" if stop else "continue"
                    self.rungs.append({"trial_id": trial_id, "stage": stage, "arm": arm, "decision": decision, **rung})
                    peers.append(value)
                    if stop:
                        status = "stopped"
                        break
            if self.fake.taus and status == "completed":
                self.epochs[-1]["val_balanced_accuracy_by_tau"] = self._by_tau(value, arm)
            self.trials.append(
                {
                    "trial_id": trial_id,
                    "stage": stage,
                    "arm": arm,
                    "search": search,
                    "control": control,
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

    def _config(self, stage: str, arm: str, number: int) -> dict[str, Any]:
        config: dict[str, Any] = {
            "config/learning_rate": float(10 ** self.rng.uniform(-2, -0.5)),
            "config/momentum": float(self.rng.uniform(0.7, 0.97)),
            "config/weight_decay": float(10 ** self.rng.uniform(-5, -2)),
            "config/schedule": "cosine",
            "config/batch_size": 128,
            "config/optimizer": OPTIMIZERS[number % 3] if self.task == "baseline" else "sgd",
        }
        if self.task != "imbalance":
            config["config/label_smoothing"] = float(self.rng.uniform(0, 0.2))
        if stage == "pretext":
            config |= {"config/grid": GRID, "config/temperature": float(10 ** self.rng.uniform(-1, 0.3))}
        if self.task == "imbalance":
            config |= {
                "factor/loss": arm if arm in ("focal", "logit_adjustment") else "cross_entropy",
                "factor/class_weighting": arm if arm in ("inverse_weights", "class_balanced") else "none",
                "factor/sampler": "power" if arm == "weighted_sampler" else "uniform",
            }
        if arm in KNOBS:
            name, values = KNOBS[arm]
            config[f"config/{name}"] = values[number % len(values)]
        return config

    def _tuning_epoch(
        self, trial_id: str, stage: str, arm: str, epoch: int, value: float, config: Mapping[str, Any]
    ) -> dict[str, Any]:
        row = self._epoch(trial_id, stage, arm, epoch, config["config/learning_rate"])
        if stage == "pretext":
            return {**row, **_puzzle_shares("val", value)}
        return {**row, "val_balanced_accuracy": value, "val_accuracy": value, "val_loss": 4.2 - 4 * value}

    def _epoch(self, trial_id: str, stage: str, arm: str, epoch: int, learning_rate: float) -> dict[str, Any]:
        return {
            "trial_id": trial_id,
            "stage": stage,
            "arm": arm,
            "epoch": epoch,
            "images": IMAGES_PER_EPOCH,
            "train_loss": float(2.1 * np.exp(-epoch / 5) + 0.2 + self.rng.normal(0, 0.02)),
            "learning_rate": learning_rate,
            "train_seconds": 17.5,
            "eval_seconds": 1.5,
        }

    def _by_tau(self, at_zero: float, arm: str) -> list[float]:
        """A hill over tau, of which less is left to climb in an arm that treats the imbalance itself."""
        peak = max(0.2, 1.2 - 12 * self.lifts[arm])
        return [float(at_zero + 0.08 * tau * (2 * peak - tau)) for tau in TAUS]

    # --- retests

    def winners(self, stage: str, search: int | None = None, control: str | None = None) -> dict[str, dict[str, Any]]:
        """By arm, of that search alone or the best of all."""
        found: dict[str, dict[str, Any]] = {}
        own = [row for row in self.trials if row["stage"] == stage and row["control"] == control]
        own = [row for row in own if search is None or row["search"] == search]
        for row in (row for row in own if row["status"] == "completed"):
            best = found.get(row["arm"])
            if best is None or row["objective"] > best["objective"]:
                found[row["arm"]] = row
        return found

    def retest(self, seeds: Sequence[int], search: int = 1) -> None:
        shared = {seed: self.rng.normal(0, 0.005) for seed in seeds}
        for arm, winner in self.winners("pretext").items():
            for seed in seeds:
                self._retest_epochs("pretext_retest", arm, winner, seed)
                shares = _puzzle_shares("test", 0.66 + shared[seed])
                self.retests.append(_retest("pretext_retest", arm, winner, seed) | shares | {"test_loss": 0.8})
            self.puzzles = [self._puzzle(number) for number in range(8)]
        winners, controls = self.winners("tune", search), self.winners("tune", search, "random")
        starts = {row["arm"]: row for row in self.trials if row["trial_id"] == f"{row['arm']}-0000"}
        starts = {arm: row for arm, row in starts.items() if arm in winners}
        for role, by_arm in {"winner": winners, "default": starts if controls else {}, "random": controls}.items():
            for arm, trial in by_arm.items():
                if role != "winner":
                    same = "winner" if trial is winners[arm] else None
                    found = {"arm": arm, "search": search, "role": role, "trial_id": trial["trial_id"]}
                    self.references.append({**found, "same_as": same})
                    if same:
                        continue
                for seed in seeds:
                    self._retest_epochs("retest", arm, trial, seed)
                    worse = 0.0 if role == "winner" else 0.03
                    row = self._classifier_retest(arm, trial, seed, shared[seed] - worse)
                    self.retests.append({**row, "role": role, "search": search})

    def _retest_epochs(self, stage: str, arm: str, winner: Mapping[str, Any], seed: int) -> None:
        for epoch in range(1, winner["epochs"] + 1):
            trial_id = f"{winner['trial_id']}-seed-{seed}"
            row = self._epoch(trial_id, stage, arm, epoch, winner["config/learning_rate"])
            row["eval_seconds"] = 0.0
            if self.task == "cifar100":
                gap = max(0.02, 0.25 - 2 * self.lifts[arm])  # between training and test at the end
                learnt = 1 - math.exp(-epoch / 2.5)
                row |= {
                    "train_eval_accuracy": (0.55 + gap) * learnt,
                    "test_accuracy": 0.55 * learnt,
                    "train_eval_loss": 4.0 - (3.0 + 2 * gap) * learnt,
                    "test_loss": 4.0 - 3.0 * learnt + gap * epoch / 6,
                }
            self.epochs.append(row)

    def _classifier_retest(self, arm: str, winner: Mapping[str, Any], seed: int, shift: float) -> dict[str, Any]:
        num_classes, rng = len(self.class_names), self.rng
        rise = 2 * self.lifts[arm] if self.task == "imbalance" else self.lifts[arm]
        tilt = np.full(num_classes, rise)
        if self.fake.taus:
            rarity = self._rarity(num_classes)
            tilt = rarity * (rise - 0.16) + (1 - rarity) * (0.16 - self.lifts[arm])
        recall = np.clip(0.64 + tilt + shift + rng.normal(0, 0.012, num_classes), 0, 1)
        confusion = []
        for true in range(num_classes):
            correct = round(1000 * float(recall[true]))
            wrong = rng.multinomial(1000 - correct, rng.dirichlet(np.full(num_classes - 1, 0.2)))
            confusion.append([int(count) for count in np.insert(wrong, true, correct)])
        recalls = [confusion[j][j] / 1000 for j in range(num_classes)]
        score = float(np.mean(recalls))
        row = _retest("retest", arm, winner, seed) | {
            "test_balanced_accuracy": score,
            "test_accuracy": score,
            "test_macro_f1": score - 0.01,
            "test_worst_class_recall": min(recalls),
            "test_nll": 1.1 - self.lifts[arm] * 3,
            "test_ece": 0.08 - self.lifts[arm] / 4,
            "per_class_recall": recalls,
            "confusion_matrix": confusion,
            "class_counts": self.fake.retest_counts,
            "num_train": sum(self.fake.retest_counts or ()) or 27_500,
        }
        if self.fake.taus:
            row["test_balanced_accuracy_by_tau"] = self._by_tau(score, arm)
        if self.task == "cifar100":
            row |= {"test_top5_accuracy": min(score + 0.2, 1.0), "test_superclass_accuracy": min(score + 0.1, 1.0)}
        return row

    def _rarity(self, num_classes: int) -> np.ndarray:
        """0 for the most frequent class, 1 for the rarest; of classes under other names, the first half is rare."""
        counts = np.asarray(self.fake.class_counts, dtype=float)
        if len(counts) != num_classes:
            return (np.arange(num_classes) < num_classes // 2).astype(float)
        return np.log(counts.max() / counts) / max(np.log(counts.max() / counts.min()), 1e-9)

    def _puzzle(self, number: int) -> dict[str, Any]:
        """A puzzle of a gradient from red to blue; every third has its first two tiles confused."""
        ramp = np.linspace(0, 255, 32, dtype=np.uint8)
        image = np.stack([*np.meshgrid(ramp, ramp), np.full((32, 32), 30 * number, dtype=np.uint8)], axis=-1)
        buffer = io.BytesIO()
        matplotlib.image.imsave(buffer, image, format="png")
        permutation = self.rng.permutation(GRID**2)
        predicted = permutation.copy()
        if number % 3 == 2:
            predicted[[0, 1]] = predicted[[1, 0]]
        sinkhorn = np.full((GRID**2, GRID**2), 0.05)
        sinkhorn[np.arange(GRID**2), predicted] = 0.85
        return {
            "number": number,
            "image_png": buffer.getvalue(),
            "grid": GRID,
            "permutation": permutation.tolist(),
            "predicted": predicted.tolist(),
            "sinkhorn": sinkhorn.tolist(),
        }

    # --- writing

    def write(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        extra = sorted({name for row in self.trials for name in row if "/" in name})
        columns = {name: records.column_type(row.get(name) for row in self.trials) for name in extra}
        columns = columns or {"config/learning_rate": pa.float64()}
        records.write_table(run_dir / "trials.parquet", self.trials, records.with_columns(records.TRIALS, columns))
        records.write_table(run_dir / "epochs.parquet", self.epochs, records.EPOCHS)
        records.write_table(run_dir / "rungs.parquet", self.rungs, records.RUNGS)
        records.write_table(run_dir / "retests.parquet", self.retests, records.RETESTS)
        if self.puzzles:
            records.write_table(run_dir / "puzzles.parquet", self.puzzles, records.PUZZLES)


def _puzzle_shares(prefix: str, exact: float) -> dict[str, float]:
    return {
        f"{prefix}_exact_accuracy": exact,
        f"{prefix}_tile_accuracy": (1 + exact) / 2,
        f"{prefix}_exact_accuracy_argmax": 0.9 * exact,
        f"{prefix}_tile_accuracy_argmax": (1 + exact) / 2 - 0.02,
        f"{prefix}_confidence": exact,
        f"{prefix}_invalid_argmax": (1 - exact) / 3,
    }


def _retest(stage: str, arm: str, winner: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return {
        "stage": stage,
        "arm": arm,
        "trial_id": winner["trial_id"],
        "seed": seed,
        "num_train": 27_500,
        "train_indices_sha256": "0" * 64,
        "weights_sha256": "1" * 64,
        "train_seconds": 190.0,
    }


def _summary(
    run: _Run, groups: Sequence[Mapping[str, Any]], full_epochs: Mapping[str, int], num_seeds: int, interrupted: bool
) -> dict[str, Any]:
    fake, arms = run.fake, tuple(full_epochs)
    command = f"python -m study.run {run.task} --dataset {fake.dataset} --budget quick --name demo"
    winners = {**run.winners("pretext"), **run.winners("tune")}
    stages = [_stage("tune", fake.objective, full_epochs, MAX_EPOCHS)]
    if run.task == "jigsaw":
        stages.insert(0, _stage("pretext", "val_exact_accuracy", {PRETEXT_ARM: PRETEXT_EPOCHS}, PRETEXT_EPOCHS))
    counts = fake.class_counts
    return {
        "name": "demo",
        "task": run.task,
        "state": "interrupted" if interrupted else "complete",
        "command": command,
        "resume_command": "python -m study.resume reports/demo",
        "dataset": {
            "name": fake.dataset,
            "origin": "Parquet files under the data root",
            "fingerprint": "c0ffee" * 10,
            "num_classes": len(run.class_names),
            "class_names": list(run.class_names),
            "class_counts": list(counts),
            "superclass_names": None if fake.superclass_names is None else list(fake.superclass_names),
            "superclass_of": None if fake.superclass_of is None else list(fake.superclass_of),
            "channels": 3,
            "num_train": sum(counts),
            "num_val": 5000,
            "num_test": 10_000,
            "image_size": 32,
        },
        "setting": dict(fake.setting),
        "arms": list(arms),
        "groups": list(groups),
        "score": fake.score,
        "objective": fake.objective,
        "stages": stages,
        "taus": None if fake.taus is None else list(fake.taus),
        "knobs": {arm: SHARED_KNOBS for stage in stages for arm in stage["arms"]},
        "arm_factors": {arm: _factors(arm) for stage in stages for arm in stage["arms"]},
        "arm_descriptions": {arm: f"what {arm} does, in one line" for stage in stages for arm in stage["arms"]},
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
    }


def _stage(name: str, objective: str, epochs_of: Mapping[str, int], max_epochs: int) -> dict[str, Any]:
    return {
        "name": name,
        "arms": list(epochs_of),
        "objective": objective,
        "mode": "max",
        "trials_per_arm": NUM_TRIALS,
        "max_epochs": max_epochs,
        "epochs_of": dict(epochs_of),
    }
