"""Post-hoc logit adjustment: each winner's sweep over tau."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.analysis import intervals, results
from study.analysis.intervals import Interval
from study.analysis.once import once
from study.analysis.tables import Tables


@dataclass(frozen=True, kw_only=True)
class TauSweep:
    """The sweep of an arm's winner: logits shifted by -tau log prior before argmax (Menon et al. 2021), for each tau.

    taus: ascending; validation: the winning trial's balanced accuracy at each tau, 0-1; test: that of the retest, one
    row per seed, one column per tau; None if the arm was not retested. step: what one test image is worth.
    """

    arm: str
    taus: tuple[float, ...]
    validation: tuple[float, ...]
    test: pd.DataFrame | None
    step: float

    @property
    def chosen(self) -> float:
        """The tau with the best validation score; ties go to the smallest."""
        return self.taus[int(np.argmax(self.validation))]

    @property
    def validation_gain(self) -> float:
        return max(self.validation) - self.validation[self.taus.index(0.0)]

    def test_score(self, tau: float) -> Interval | None:
        return None if self.test is None else intervals.t_interval(self.test[tau])

    @property
    def test_difference(self) -> Interval | None:
        """The score at the chosen tau minus that at 0, paired by seed: both are of the same trained model."""
        if self.test is None:
            return None
        return intervals.paired_difference(self.test[self.chosen], self.test[0.0], step=self.step)


@once
def tau_sweeps(tables: Tables) -> list[TauSweep]:
    """A sweep for each arm whose winner recorded one, in declared order."""
    taus = tuple(float(tau) for tau in tables.summary.get("taus") or ())
    swept = tables.tuning_epochs.dropna(subset=["val_balanced_accuracy_by_tau"]).sort_values("epoch")
    validation = swept.drop_duplicates("trial_id", keep="last").set_index("trial_id")["val_balanced_accuracy_by_tau"]
    retests = tables.main_retests.dropna(subset=["test_balanced_accuracy_by_tau"])
    winners = results.winners(tables.trials).set_index("arm")["trial_id"]
    sweeps = []
    for arm in tables.arms:
        if arm in winners.index and winners[arm] in validation.index:
            swept_by_unit = results.seed_scores(retests, arm, "test_balanced_accuracy_by_tau")
            test = pd.DataFrame(list(swept_by_unit), index=swept_by_unit.index, columns=list(taus))
            sweeps.append(
                TauSweep(
                    arm=arm,
                    taus=taus,
                    validation=tuple(float(value) for value in validation[winners[arm]]),
                    test=test.sort_index() if len(test) else None,
                    step=tables.score_step,
                )
            )
    return sweeps
