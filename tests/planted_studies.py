"""Studies whose truth is planted in their learning curves, made up as tables that the page's own functions judge."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fake_run import write_run

from study.analysis.intervals import paired_difference
from study.analysis.results import seed_scores, winners
from study.analysis.tables import Tables, load_tables
from study.core.stage import TUNE, retests_of
from study.engine.scheduler import asha_decision
from study.page.answers import headlines
from study.page.tasks.registry import find_page

ARMS = ("none", "focal", "oversampling", "weighted_sampler", "balanced_softmax", "logit_adjustment")
CONTROL = ARMS[0]
RUNGS, MAX_EPOCHS, REDUCTION = (2, 6), 18, 3
NUM_TEST, NUM_VAL = 10_000, 2_500
SEED_NOISE, OWN_NOISE = 0.01, 0.006
"""Standard deviations over retest seeds: what all arms share, and what is an arm's own."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A simulated study and what is true of it.

    truth: arm -> the score that its winner's configuration reaches on average over seeds and test sets. would_have_won:
    trial -> whether it, stopped, would have had a better validation score at the end than the winner of its arm.
    """

    tables: Tables
    truth: dict[str, float]
    would_have_won: dict[str, bool]


def base_tables() -> Tables:
    """Those of a made-up run with the arms; all that a simulated study does not have of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return load_tables(write_run(Path(folder) / "run", arms=ARMS))


def planted_study(
    base: Tables, rng: np.random.Generator, lifts: Sequence[float], *, num_seeds: int, num_trials: int = 12
) -> Planted:
    """A study whose arms reach 0.7 + lift with the right learning rate."""
    trials: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    rungs: list[dict[str, Any]] = []
    true_score: dict[str, float] = {}
    would_have_won: dict[str, bool] = {}
    for arm, lift in zip(ARMS, lifts, strict=True):
        peers: dict[int, list[float]] = {rung: [] for rung in RUNGS}
        full: dict[str, float] = {}  # trial -> its validation score at the end
        own = []
        for number in range(num_trials):
            trial_id = f"{arm}-{number:04d}"
            config = {
                "config/learning_rate": float(10 ** rng.uniform(-3, 0)),
                "config/weight_decay": float(10 ** rng.uniform(-6, -2)),
                "config/momentum": float(rng.uniform(0, 0.97)),
            }
            true_score[trial_id] = 0.7 + lift - 0.05 * (math.log10(config["config/learning_rate"]) + 1.2) ** 2
            seen = _validation_curve(rng, true_score[trial_id])
            full[trial_id] = float(seen[-1])
            status, last = "completed", MAX_EPOCHS
            for rung in RUNGS:
                decision = asha_decision(seen[rung - 1], peers[rung], reduction_factor=REDUCTION, mode="max")
                peers[rung].append(seen[rung - 1])
                rungs.append({"trial_id": trial_id, "stage": TUNE, "arm": arm, "rung_epoch": rung, **vars(decision)})
                if decision.decision == "stop":
                    status, last = "stopped", rung
                    break
            name = {"trial_id": trial_id, "stage": TUNE, "arm": arm}
            own.append(
                {**name, "number": number, "status": status, "epochs": last, "objective": seen[last - 1]} | config
            )
            epochs += [
                {**name, "epoch": epoch, base.objective: seen[epoch - 1], "train_seconds": 1.0, "eval_seconds": 0.1}
                for epoch in range(1, last + 1)
            ]
        trials += own
        best = max(full[row["trial_id"]] for row in own if row["status"] == "completed")  # the first arrival is one
        would_have_won |= {row["trial_id"]: full[row["trial_id"]] > best for row in own if row["status"] == "stopped"}
    tables = replace(
        base, trials=pd.DataFrame(trials), epochs=pd.DataFrame(epochs), rungs=pd.DataFrame(rungs),
        summary={**base.summary, "dataset": {**base.summary["dataset"], "num_test": NUM_TEST}},
    )  # fmt: skip
    won = winners(tables.trials).set_index("arm")["trial_id"]
    truth = {arm: true_score[str(won[arm])] for arm in ARMS}
    tables = replace(tables, retests=_retests(base, rng, truth, num_seeds))
    return Planted(tables=tables, truth=truth, would_have_won=would_have_won)


def _validation_curve(rng: np.random.Generator, score: float) -> np.ndarray:
    """The score after each epoch: it rises to within a hundredth of its own, quickly or slowly."""
    epochs = np.arange(1, MAX_EPOCHS + 1)
    rise = 1 - 0.3 * np.exp(-epochs / rng.uniform(1.0, MAX_EPOCHS / 4))
    return rng.binomial(NUM_VAL, np.clip(score * rise, 0, 1)) / NUM_VAL


def _retests(base: Tables, rng: np.random.Generator, truth: dict[str, float], num_seeds: int) -> pd.DataFrame:
    """Rows as a run has them, with other scores."""
    template = base.main_retests.iloc[0].to_dict()
    shared = rng.normal(0, SEED_NOISE, num_seeds)
    rows = []
    for arm, true in truth.items():
        for seed in range(num_seeds):
            share = float(np.clip(true + shared[seed] + rng.normal(0, OWN_NOISE), 0, 1))
            score = rng.binomial(NUM_TEST, share) / NUM_TEST
            rows.append({**template, "stage": retests_of(TUNE), "arm": arm, "seed": 1000 + seed, base.score: score})
    return pd.DataFrame(rows)


def difference_error(num_seeds: int, score: float = 0.7) -> float:
    """The standard error of the mean paired difference of two arms: their own noise, and the test images of each."""
    return math.sqrt(2 * (OWN_NOISE**2 + score * (1 - score) / NUM_TEST) / num_seeds)


def covers(study: Planted, arm: str) -> bool:
    """Whether the interval of the arm's difference to the control, alone, holds the true one."""
    scores = [seed_scores(study.tables.main_retests, name, study.tables.score) for name in (arm, CONTROL)]
    difference = paired_difference(*scores, step=study.tables.score_step)
    assert difference is not None
    assert difference.low is not None
    assert difference.high is not None
    return difference.low <= study.truth[arm] - study.truth[CONTROL] <= difference.high


def first_sentence(study: Planted) -> str:
    return headlines(find_page(study.tables.task), study.tables)[0]


def claims_a_gain(sentence: str) -> bool:
    """Whether the first sentence of a page says that an arm is better than the control."""
    return " above " in sentence and not any(
        words in sentence for words in ("no measurable difference", "no evidence", "beats the control")
    )


def with_winners(study: Planted, base: Tables, rng: np.random.Generator, lifts: Sequence[float]) -> Planted:
    """The study, retested as if all winners were equally good but for the lifts: a null holds of what is retested."""
    num_seeds = study.tables.main_retests["seed"].nunique()
    truth = {arm: 0.7 + lift for arm, lift in zip(ARMS, lifts, strict=True)}
    return replace(study, truth=truth, tables=replace(study.tables, retests=_retests(base, rng, truth, num_seeds)))


def audit_of(study: Planted, rng: np.random.Generator, num_audited: int) -> pd.DataFrame | None:
    """The audit of some of the stopped trials, drawn at random; None if too few were stopped."""
    stopped = list(study.would_have_won)
    if len(stopped) < num_audited:
        return None
    drawn = rng.choice(len(stopped), num_audited, replace=False)
    return pd.DataFrame({"would_have_won": [study.would_have_won[stopped[row]] for row in drawn]})
