"""The audit of early stopping without Ray: which trials are drawn, what the ledger keeps, what the numbers say."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from fake_run import write_run
from learner_cases import few_digits, setup_of, start_hparams
from scipy import stats
from study_cases import METRIC, asked, epoch_events, make_stage

from study.analysis import audit as analysis
from study.analysis.audit import Coarseness, FirstArrivals, kendall_within, share_of
from study.analysis.tables import Tables, load_tables
from study.core.ledger import AUDIT_CHOSEN, AUDIT_FAILED, AUDITED, RUNG, Event, Ledger, finished
from study.engine.audit import audit, audit_order, choose, waiting_audits
from study.page.audit import audit_section
from study.page.render import render_page
from study.page.tasks.registry import PAGES
from study.records.audits import audit_rows
from study.records.tables import AUDIT, read_table, write_table
from study.records.writer import write_records
from study.tasks.imbalance import ImbalanceSpec
from trainables.common.places import LocalPlace
from trainables.jobs import train_and_validate_in_worker
from trainables.tasks.imbalance import IMBALANCE
from trainables.training.trial import train_to_end, trial_epoch

STAGE = make_stage(arms=("none", "focal"))


def stopped(trial_id: str, values: list[float], *, cutoff: float, num_peers: int) -> list[Event]:
    """A trial that was stopped at the epoch of its last value."""
    rung = {"rung_epoch": len(values), "value": values[-1], "cutoff": cutoff, "num_peers": num_peers}
    return [
        asked(trial_id),
        *(event for epoch, value in enumerate(values, start=1) for event in epoch_events(trial_id, epoch, value)),
        Event(kind=RUNG, trial_id=trial_id, payload={**rung, "decision": "stop"}),
        finished(trial_id, "stopped"),
    ]


def completed(trial_id: str, values: list[float], *, num_peers: int) -> list[Event]:
    rung = {"rung_epoch": 1, "value": values[0], "cutoff": None, "num_peers": num_peers, "decision": "continue"}
    first, *later = values
    return [
        asked(trial_id),
        *epoch_events(trial_id, 1, first),
        Event(kind=RUNG, trial_id=trial_id, payload=rung),
        *(event for epoch, value in enumerate(later, start=2) for event in epoch_events(trial_id, epoch, value)),
        finished(trial_id, "completed"),
    ]


@pytest.fixture
def ledger(tmp_path):
    """none: a winner at 0.75, and three stopped at epoch 1; focal has a stopped trial and no winner."""
    with Ledger(tmp_path) as ledger:
        ledger.append(*completed("none-0000", [0.5, 0.75], num_peers=0))
        ledger.append(*stopped("none-0001", [0.25], cutoff=0.5, num_peers=1))
        ledger.append(*stopped("none-0002", [0.375], cutoff=0.5, num_peers=2))
        ledger.append(*stopped("none-0003", [0.125], cutoff=0.5, num_peers=3))
        ledger.append(*stopped("focal-0000", [0.125], cutoff=0.5, num_peers=1))
        yield ledger


def audited(ledger: Ledger, trial_id: str, values: list[float], **first: object) -> Event:
    """The trial trained again; first: what differs from the record in its first epoch."""
    recorded = ledger.book.trials[trial_id].epochs[0]
    epochs = [{**recorded, "epoch": epoch, METRIC: value} for epoch, value in enumerate(values, start=1)]
    epochs[0].update(first)
    return Event(kind=AUDITED, trial_id=trial_id, payload={"epochs": epochs})


# --- the draw -----------------------------------------------------------------------------------------------


def test_only_stopped_trials_of_arms_with_a_winner_are_drawn_and_more_of_them_begin_with_the_same(ledger):
    order = [trial.trial_id for trial in audit_order(STAGE, ledger.book, 0)]
    assert sorted(order) == ["none-0001", "none-0002", "none-0003"]
    assert order == [trial.trial_id for trial in audit_order(STAGE, ledger.book, 0)]
    assert len({tuple(trial.trial_id for trial in audit_order(STAGE, ledger.book, seed)) for seed in range(50)}) == 6
    choose(STAGE, ledger, seed=0, num_trials=1)
    choose(STAGE, ledger, seed=0, num_trials=1)  # as a resumed session does
    assert ledger.book.audit_chosen == order[:1]
    choose(STAGE, ledger, seed=0, num_trials=9)
    assert ledger.book.audit_chosen == order
    chosen = [event.payload for event in ledger.events() if event.kind == AUDIT_CHOSEN]
    assert chosen == [{"trials": order[:1], "num_stopped": 3}, {"trials": order[1:], "num_stopped": 3}]


def test_each_stopped_trial_is_as_likely_to_be_drawn_first(ledger):
    first = [audit_order(STAGE, ledger.book, seed)[0].trial_id for seed in range(600)]
    counts = pd.Series(first).value_counts()
    assert set(counts.index) == {"none-0001", "none-0002", "none-0003"}
    assert counts.min() > 200 - 5 * math.sqrt(600 * 2 / 9)


def test_what_was_audited_or_failed_does_not_wait_and_the_ledger_read_again_says_the_same(ledger, tmp_path):
    choose(STAGE, ledger, seed=0, num_trials=3)
    first, second, third = ledger.book.audit_chosen
    assert [trial.trial_id for trial in waiting_audits(STAGE, ledger.book)] == [first, second, third]
    ledger.append(audited(ledger, first, [0.25, 0.5]))
    ledger.append(Event(kind=AUDIT_FAILED, trial_id=second, payload={"message": "the training loss was nan"}))
    assert [trial.trial_id for trial in waiting_audits(STAGE, ledger.book)] == [third]
    with Ledger(tmp_path) as again:
        assert again.book == ledger.book
        assert again.book.trials[first].num_epochs == 1  # the trial itself stays as it was stopped


def test_workers_of_an_audit_get_the_tuning_data_and_no_other_and_every_outcome_is_recorded(
    ledger, tmp_path, monkeypatch
):
    choose(STAGE, ledger, seed=0, num_trials=2)
    first, second = ledger.book.audit_chosen
    monkeypatch.setattr("study.engine.audit.ray.put", lambda data: ("reference to", data))
    handed, done = [], []

    def run(trainings, *, on_outcome, **options):
        handed.extend(trainings)
        on_outcome(trainings[0], ({}, [{"epoch": 1}]))
        on_outcome(trainings[1], "the training loss was nan")
        return ["lost"]

    monkeypatch.setattr("study.engine.audit.run_jobs", run)
    data, spec = few_digits(), ImbalanceSpec()
    checkpoints = LocalPlace(tmp_path / "checkpoints")
    options = {"spec": spec, "stage": STAGE, "ledger": ledger, "data": data, "checkpoints": checkpoints, "num_slots": 1}
    assert audit(**options, on_done=lambda trial: done.append(trial.trial_id)) == ["lost"]
    assert [training.name for training in handed] == done == [first, second]
    for training in handed:
        assert training.given == (("reference to", data),)
        assert training.worker is train_and_validate_in_worker
        assert (training.seed, training.num_epochs) == (ledger.book.trials[training.name].seed, 9)
        assert training.folder == checkpoints / f"audit-{training.name}"
    assert ledger.book.audits == {first: [{"epoch": 1}]}
    assert ledger.book.audit_failures == {second: "the training loss was nan"}
    assert audit(**options, on_done=done.append) == []
    assert len(handed) == 2


# --- the records --------------------------------------------------------------------------------------------


def test_a_row_says_rank_and_value_at_the_stop_and_what_became_of_it(ledger):
    ledger.append(Event(kind=AUDIT_CHOSEN, payload={"trials": ["none-0002", "none-0001"], "num_stopped": 3}))
    ledger.append(audited(ledger, "none-0001", [0.25, 0.875]), audited(ledger, "none-0002", [0.375, 0.75]))
    second, first = audit_rows(STAGE, ledger.book)
    assert (first["trial_id"], first["arm"], first["stage"]) == ("none-0001", "none", "tune")
    assert (first["stopped_at_epoch"], first["value_at_stop"], first["cutoff"]) == (1, 0.25, 0.5)
    assert (first["rank_at_stop"], first["num_peers"]) == (2, 1)  # of 0.5 and itself
    assert (second["rank_at_stop"], second["num_peers"]) == (2, 2)  # of 0.5, itself and 0.25; the later 0.125 is none
    assert (first["final_value"], first["winner"], first["winner_value"]) == (0.875, "none-0000", 0.75)
    assert first["values"] == [0.25, 0.875]
    assert [first["would_have_won"], second["would_have_won"]] == [True, False]  # 0.75 is level with the winner
    assert (first["first_difference_epoch"], first["first_difference"], first["message"]) == (None, None, None)
    assert first["images"] == 2 * ledger.book.trials["none-0001"].epochs[0]["images"]


def test_a_row_says_where_it_left_its_record_and_why_it_failed(ledger, tmp_path):
    ledger.append(Event(kind=AUDIT_CHOSEN, payload={"trials": ["none-0001", "none-0003"], "num_stopped": 3}))
    ledger.append(audited(ledger, "none-0001", [0.25, 0.5], train_loss=7.0))
    ledger.append(Event(kind=AUDIT_FAILED, trial_id="none-0003", payload={"message": "the training loss was nan"}))
    write_records(tmp_path, ledger.book, stages=(STAGE,), active=False)
    first, failed = read_table(tmp_path / "audit.parquet").to_pylist()
    assert first["first_difference_epoch"] == 1
    assert first["first_difference"].startswith("train_loss is 7.0 and was recorded as ")
    assert (failed["final_value"], failed["would_have_won"], failed["values"]) == (None, False, [])
    assert failed["message"] == "the training loss was nan"
    assert failed["value_at_stop"] == 0.125


def test_a_run_without_an_audit_has_no_table_of_it(ledger, tmp_path):
    write_records(tmp_path, ledger.book, stages=(STAGE,), active=False)
    assert not (tmp_path / "audit.parquet").exists()


# --- training to the end ------------------------------------------------------------------------------------


def test_a_training_to_the_end_goes_on_where_it_was_cut_and_is_the_trial_s_own_bit_for_bit(tmp_path, monkeypatch):
    data, setup, hparams = few_digits(), setup_of(num_epochs=3), start_hparams("none")
    learner = IMBALANCE.learner(hparams, data, setup)
    trial = [trial_epoch(IMBALANCE, learner, data) for _ in range(3)]
    options = {"hparams": hparams, "setup": setup, "checkpoint_dir": tmp_path}
    trained = []

    def cut_in_the_third(task, learner, data):
        if len(trained) == 2:
            trained.append("cut")
            raise KeyboardInterrupt
        trained.append(learner.epoch + 1)
        return trial_epoch(task, learner, data)

    monkeypatch.setattr("trainables.training.trial.trial_epoch", cut_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        train_to_end(IMBALANCE, data, **options)
    epochs = train_to_end(IMBALANCE, data, **options)
    assert trained == [1, 2, "cut", 3]
    clocks = {"train_seconds", "eval_seconds"}
    assert [{k: v for k, v in row.items() if k not in clocks} for row in epochs] == [
        {k: v for k, v in row.items() if k not in clocks} for row in trial
    ]
    assert torch.get_num_threads() == 1


# --- the numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num", "n"), [(0, 5), (1, 5), (3, 7), (20, 40), (5, 5)])
def test_shares_have_the_exact_binomial_interval(num, n):
    share = share_of(num, n)
    expected = stats.binomtest(num, n).proportion_ci(0.95, method="exact")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high))
    assert share.low <= num / n <= share.high


def test_kendall_s_tau_of_one_group_is_scipy_s_ties_included():
    generator = np.random.default_rng(0)
    pairs = [tuple(pair) for pair in generator.integers(0, 6, (40, 2))]
    tau, num_pairs = kendall_within([pairs])
    assert tau == pytest.approx(stats.kendalltau(*zip(*pairs, strict=True)).statistic)
    assert num_pairs == 40 * 39 // 2


def test_pairs_of_different_arms_are_not_compared():
    """Within each arm the order is reversed; the arms' distance would make it look like agreement."""
    low, high = [(1.0, 2.0), (2.0, 1.0)], [(11.0, 12.0), (12.0, 11.0)]
    assert kendall_within([low, high]) == (-1.0, 2)
    assert kendall_within([[*low, *high]])[0] == pytest.approx(1 / 3)  # 4 of 6 agree
    assert kendall_within([[(1.0, 2.0)], []]) == (None, 0)
    assert kendall_within([[(1.0, 2.0), (1.0, 3.0)]]) == (None, 1)


RUNGS = [  # trial, arm, value, cutoff, peers: at epoch 1
    ("a-0000", "a", 0.2, None, 0, "continue"),
    ("a-0001", "a", 0.6, 0.2, 1, "continue"),
    ("a-0002", "a", 0.5, 0.51, 2, "stop"),
    ("a-0003", "a", 0.1, 0.5, 3, "stop"),
    ("b-0000", "b", 0.9, None, 0, "continue"),
    ("b-0001", "b", 0.3, 0.9, 1, "stop"),
]


def hand_made(*, num_val: int = 100) -> Tables:
    """Two arms of three epochs, rungs at epoch 1; a-0002 and b-0001 were audited."""
    ends = {"a-0000": [0.2, 0.3, 0.4], "a-0001": [0.6, 0.7, 0.7], "b-0000": [0.9, 0.9, 0.9]}
    trials = [
        {"trial_id": name, "stage": "tune", "arm": arm, "status": "completed" if name in ends else "stopped",
         "epochs": 3 if name in ends else 1, "images": 30 if name in ends else 10,
         "objective": ends.get(name, [value])[-1]}
        for name, arm, value, *_ in RUNGS
    ]  # fmt: skip
    epochs = [
        {"trial_id": name, "stage": "tune", "arm": arm, "epoch": epoch, "val_accuracy": value, "train_seconds": 1.0,
         "eval_seconds": 0.0}
        for name, arm, first, *_ in RUNGS
        for epoch, value in enumerate(ends.get(name, [first]), start=1)
    ]  # fmt: skip
    rungs = [
        dict(zip(("trial_id", "arm", "value", "cutoff", "num_peers", "decision"), row, strict=True))
        | {"stage": "tune", "rung_epoch": 1}
        for row in RUNGS
    ]
    audit = [
        {"trial_id": "a-0002", "stage": "tune", "arm": "a", "values": [0.5, 0.6, 0.8], "final_value": 0.8,
         "would_have_won": True},
        {"trial_id": "b-0001", "stage": "tune", "arm": "b", "values": [0.3, 0.4, 0.5], "final_value": 0.5,
         "would_have_won": False},
        {"trial_id": "a-0003", "stage": "tune", "arm": "a", "values": [], "final_value": None, "would_have_won": False},
    ]  # fmt: skip
    summary = {
        "task": "t", "arms": ["a", "b"], "objective": "val_accuracy", "score": "test_accuracy",
        "groups": [{"title": "", "control": "a", "arms": ["a", "b"]}],
        "stages": [{"name": "tune", "mode": "max", "epochs_of": {"a": 3, "b": 3}}],
        "budget": {"reduction_factor": 2}, "dataset": {"num_val": num_val},
    }  # fmt: skip
    return Tables(
        spec={}, summary=summary, trials=pd.DataFrame(trials), epochs=pd.DataFrame(epochs), rungs=pd.DataFrame(rungs),
        retests=pd.DataFrame(), audit=pd.DataFrame(audit),
    )  # fmt: skip


def test_the_order_at_a_rung_is_compared_with_that_at_the_end_over_completed_and_audited_trials():
    """a: (0.2, 0.4), (0.6, 0.7), (0.5, 0.8): two pairs agree, one does not; b: (0.9, 0.9), (0.3, 0.5) agree. 2 / 4."""
    (found,) = analysis.rung_correlations(hand_made())
    assert (found.rung_epoch, found.tau, found.num_trials, found.num_pairs) == (1, 0.5, 5, 4)


def test_false_stops_count_a_trial_that_diverged_as_not_having_won():
    share = analysis.false_stops(analysis.main_audit(hand_made()))
    assert (share.num, share.n) == (1, 3)


def test_saved_images_are_those_that_stopped_trials_did_not_draw():
    """Three stopped at epoch 1 of 3, 10 images an epoch: 60 saved of 60 + 90 + 30."""
    assert analysis.saved_images(hand_made()) == (60.0, pytest.approx(60 / 180))


def test_first_arrivals_below_what_later_values_ask_are_counted():
    """a: 0.2 is below the median 0.5 of 0.6, 0.5 and 0.1; b: 0.9 is above 0.3."""
    tables = hand_made()
    assert analysis.first_arrivals(tables) == FirstArrivals(num_decisions=6, num_first=2, num_below=1)
    between = tables.rungs.assign(value=tables.rungs["value"].replace(0.2, 0.55))  # below 0.6 alone
    assert analysis.first_arrivals(dataclasses.replace(tables, rungs=between)).num_below == 0


def test_decisions_closer_than_a_standard_error_are_counted():
    """Of 0.6 - 0.2, 0.5 - 0.51, 0.1 - 0.5 and 0.3 - 0.9, one is within 5 points, the error of 0.5 on 100 images."""
    error = math.sqrt(0.375 * 0.625 / 100)  # of the mean of 0.6, 0.5, 0.1 and 0.3
    assert analysis.coarseness(hand_made()) == Coarseness(
        num_images=100, standard_error=pytest.approx(error), num_decisions=4, num_close=1
    )
    assert analysis.coarseness(hand_made(num_val=1_000_000)).num_close == 0


# --- the page -----------------------------------------------------------------------------------------------


def audit_row(trial: dict[str, object], *, final: float | None, **changes: object) -> dict[str, object]:
    row = {
        "trial_id": trial["trial_id"], "stage": "tune", "arm": trial["arm"], "seed": 1,
        "stopped_at_epoch": trial["epochs"], "value_at_stop": trial["objective"], "cutoff": 0.5, "rank_at_stop": 3,
        "num_peers": 4, "final_epoch": 9, "final_value": final, "winner": f"{trial['arm']}-0000", "winner_value": 0.5,
        "would_have_won": final is not None and final > 0.5, "values": [] if final is None else [0.1] * 8 + [final],
        "images": 9000, "train_seconds": 9.0,
    }  # fmt: skip
    return {**row, **changes}


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")


def with_audit(run_dir, ends: list[float | None], **changes: object) -> Tables:
    """The run with an audit of its first stopped trials, which end at these values."""
    trials = load_tables(run_dir).trials
    is_stopped = (trials["status"] == "stopped") & (trials["stage"] == "tune")
    stopped_trials = trials[is_stopped].to_dict("records")
    rows = [audit_row(trial, final=final, **changes) for trial, final in zip(stopped_trials, ends, strict=False)]
    write_table(run_dir / "audit.parquet", rows, AUDIT)
    return load_tables(run_dir)


def num_stopped(tables: Tables) -> int:
    return int((tables.tuning["status"] == "stopped").sum())


def test_a_run_without_an_audit_has_no_section(run_dir):
    assert audit_section(load_tables(run_dir)) is None


def test_the_section_says_how_often_a_stopped_trial_would_have_won_and_how_sure_that_is(run_dir):
    tables = with_audit(run_dir, [0.625, 0.25, 0.5, None])
    section = audit_section(tables)
    assert section is not None
    text = " ".join(section.sentences)
    assert text.startswith(
        f"Of the {num_stopped(tables)} trials that early stopping ended, 4 drawn at random were trained again from the "
        "same seeds, to the last epoch. 1 of 4 would have beaten the winner of the arm in validation balanced "
        "accuracy: 25.0 %"
    )
    assert "95 % interval of 0.6–80.6 % (Clopper–Pearson, n = 4) for all that were stopped" in text
    first = tables.audit.iloc[0]["trial_id"]
    assert f"The most was 12.5 points, by {first}." in text
    assert "1 trial came out level with the winner, and has not beaten it." in text
    assert "1 trial diverged or failed on the way" in text
    assert "all epochs came out as recorded, bit for bit" in text
    assert "the audit drew 36,000" in text
    trials, rungs = section.tables
    assert trials.rows[0] == (
        first, "3 of 9", trials.rows[0][2], "3 of 5", "50.0", "62.5", f"50.0 ({tables.audit.iloc[0]['winner']})",
        "+12.5", "yes",
    )  # fmt: skip
    assert trials.marks == ("best", "", "", "")
    assert trials.rows[3][5:] == ("failed", trials.rows[3][6], "–", "no message was recorded")
    assert [row[0] for row in rungs.rows] == ["epoch 1", "epoch 3"]
    unseen = num_stopped(tables) - 4
    assert f"The {unseen} stopped trials that were not audited are missing" in rungs.caption


def test_an_audit_of_all_stopped_trials_says_so_and_none_of_them_is_a_share_too(run_dir):
    count = num_stopped(load_tables(run_dir))
    section = audit_section(with_audit(run_dir, [0.25] * count))
    text = " ".join(section.sentences)
    assert text.startswith(f"All {count} trials that early stopping ended were trained again")
    assert "None of them would have beaten the winner of the arm" in text
    assert "0.0 %, with a 95 % interval of 0.0–" in text
    assert "for what such a search stops" in text
    assert "The most was" not in text
    assert "not audited" not in section.tables[1].caption


def test_a_trial_that_left_its_record_is_named(run_dir):
    tables = with_audit(
        run_dir, [0.25, 0.25], first_difference_epoch=2, first_difference="train_loss is 1.0 and was recorded as 2.0"
    )
    text = " ".join(audit_section(tables).sentences)
    first = tables.audit.iloc[0]["trial_id"]
    assert "2 of 2 audited trials did not come out as recorded" in text
    assert f"{first} from epoch 2 on (train_loss is 1.0 and was recorded as 2.0)." in text
    assert "bit for bit" not in text


def test_trials_of_an_arm_without_a_winner_are_not_counted_among_the_stopped(tmp_path):
    tables = load_tables(write_run(tmp_path / "run", never_completed=("focal",)))
    in_others = tables.tuning[(tables.tuning["status"] == "stopped") & (tables.tuning["arm"] != "focal")]
    assert analysis.num_stopped(tables) == len(in_others) < num_stopped(tables)


def test_the_section_stands_on_the_page_of_any_task_and_a_message_is_no_html(tmp_path):
    for task in PAGES:
        tables = with_audit(write_run(tmp_path / task, task=task), [None], message="<b>nan</b>")
        html = render_page(PAGES[task], tables, [])
        assert html.index(">Tuning</h2>") < html.index(">Early stopping, audited</h2>") < html.index(">Budget</h2>")
        assert "<td>&lt;b&gt;nan&lt;/b&gt;</td>" in html
        without = render_page(PAGES[task], dataclasses.replace(tables, audit=None), [])
        assert "audited" not in without
