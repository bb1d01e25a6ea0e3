"""The searcher: arms dealt in turn, Optuna told the truth, and a rebuilt searcher that goes on as if never gone."""

import math
from collections import Counter
from types import SimpleNamespace

import optuna
import pytest
from learner_cases import SPACE, start_hparams
from optuna.trial import TrialState
from ray.tune.search import Searcher
from study_cases import METRIC, epoch_events, make_scheduler, make_stage, ray_trial, result_of

from search_spaces.imbalance import search_space
from study.core.ledger import ASKED, FINISHED, Ledger, finished
from study.core.search import PLAIN
from study.engine.searcher import ArmSearcher, grid_points
from trainables.hparams import ImbalanceHparams
from trainables.tasks.imbalance import IMBALANCE

SAMPLERS = ["tpe", "random", "qmc", "cmaes", "gp", "grid"]


def make_searcher(stage, ledger, **options):
    return ArmSearcher(
        stage=stage,
        ledger=ledger,
        make_config=lambda record: {"trial_id": record.trial_id, "seed": record.seed, "hparams": record.hparams},
        **options,
    )


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as ledger:
        yield ledger


def value_of(hparams, epoch):
    """A made-up validation: best at learning rate 0.1, better with every epoch."""
    return 0.8 - 0.1 * abs(math.log10(hparams["learning_rate"]) + 1) - 0.3 / epoch


def conduct(searcher, scheduler, *, slots=2, max_suggestions=1000):
    """What Ray does with the two: keep the slots full, an epoch of each running trial in turn. Returns the configs."""
    configs, running, over = [], {}, False
    while True:
        while not over and len(running) < slots:
            config = searcher.suggest(ray_id := f"ray-{len(configs)}")
            over = config == Searcher.FINISHED or len(configs) == max_suggestions
            if not over:
                configs.append(config)
                running[ray_id] = [config, 0]
        if not running:
            return configs
        for ray_id, (config, epoch) in list(running.items()):
            running[ray_id][1] = epoch + 1
            result = result_of(epoch + 1, value_of(config["hparams"], epoch + 1))
            if scheduler.on_trial_result(None, ray_trial(config["trial_id"]), result) == "STOP":
                del running[ray_id]
                searcher.on_trial_complete(ray_id, result)


def test_arms_are_dealt_in_turn_and_get_equally_many_trials(ledger):
    stage = make_stage(arms=("none", "focal", "copy"), trials_per_arm=2)
    searcher = make_searcher(stage, ledger)
    ids = [searcher.suggest(f"ray-{k}")["trial_id"] for k in range(6)]
    assert ids == ["none-0000", "focal-0000", "copy-0000", "none-0001", "focal-0001", "copy-0001"]
    assert searcher.suggest("ray-6") == Searcher.FINISHED
    assert list(ledger.book.trials) == ids


def test_the_same_number_has_the_same_seed_in_every_arm_and_another_number_another(ledger):
    searcher = make_searcher(make_stage(arms=("none", "focal", "copy"), trials_per_arm=4), ledger)
    for k in range(12):
        searcher.suggest(f"ray-{k}")
    seeds = {}
    for trial in ledger.book.trials.values():
        seeds.setdefault(trial.number, set()).add(trial.seed)
    assert [len(of_number) for of_number in seeds.values()] == [1] * 4
    assert len(set.union(*seeds.values())) == 4


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_first_trial_of_every_arm_is_its_start_point(ledger, sampler):
    arms = tuple(SPACE.arms)
    searcher = make_searcher(make_stage(arms=arms, trials_per_arm=3, searcher=sampler), ledger)
    for k, arm in enumerate(arms):
        config = searcher.suggest(f"ray-{k}")
        assert config["trial_id"] == f"{arm}-0000"
        assert config["hparams"] == start_hparams(arm)
        # The default of docs/design.md, for fewer than 5000 images.
        shared = {name: config["hparams"][name] for name in ("learning_rate", "momentum", "weight_decay", "batch_size")}
        assert shared == {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 32}
        assert config["hparams"]["schedule"] == "cosine"


def test_an_arm_that_joins_late_gets_its_trials_and_no_trial_is_asked_for_twice(ledger):
    """copy could not begin in an earlier session, which ended when the other arms had 3 trials each."""
    make = {"trials_per_arm": 3, "searcher": "random"}
    earlier = make_searcher(make_stage(arms=("none", "focal"), **make), ledger)
    for k in range(6):
        earlier.suggest(f"ray-{k}")
    assert earlier.suggest("ray-6") == Searcher.FINISHED
    for trial_id in list(ledger.book.trials):
        ledger.append(finished(trial_id, "completed"))
    later = make_searcher(make_stage(arms=("none", "copy", "focal"), **make), ledger)
    asked = [later.suggest(f"ray-{k}")["trial_id"] for k in range(3)]
    assert asked == ["copy-0000", "copy-0001", "copy-0002"]
    assert later.suggest("ray-3") == Searcher.FINISHED


OWN_KNOBS = {
    "none": set(),
    "copy": set(),
    "augment_copies": {"photometric_strength"},
    "weighted_loss": {"class_weight_gamma"},
    "augment_copies_weighted_loss": {"photometric_strength", "class_weight_gamma"},
    "flag_downweight": {"cut_loss_scale"},
    "warmup_oversample": {"cut_loss_scale", "tail_class_weight"},
    "class_balanced": {"class_weight_beta"},
    "weighted_sampler": {"sampler_exponent"},
    "class_balanced_weighted_sampler": {"sampler_exponent", "class_weight_beta"},
    "focal": {"focal_gamma"},
    "ldam_drw": {"ldam_max_margin", "ldam_scale", "reweight_start", "class_weight_beta"},
    "balanced_softmax": {"balanced_softmax_tau"},
    "logit_adjustment": {"post_hoc_tau"},
    "progressive_sampler": set(),
    "deferred_sampling": {"reweight_start"},
    "crt": {"head_start"},
    "mixup_drw": {"mixing_alpha", "reweight_start", "class_weight_beta"},
    "remix_drw": {"mixing_alpha", "reweight_start", "class_weight_beta"},
}
SHARED = {"model", "augmentation", "learning_rate", "momentum", "weight_decay", "schedule", "batch_size"}
FACTORS = {"loss", "class_weighting", "sampler", "mixing"}


def test_a_trial_has_the_knobs_of_its_arm_and_no_other(ledger):
    assert set(OWN_KNOBS) == set(SPACE.arms)
    searcher = make_searcher(make_stage(arms=tuple(OWN_KNOBS), trials_per_arm=2, searcher="random"), ledger)
    for k in range(2 * len(OWN_KNOBS)):
        searcher.suggest(f"ray-{k}")
    for trial in ledger.book.trials.values():
        assert set(trial.hparams) == SHARED | FACTORS | OWN_KNOBS[trial.arm], trial.trial_id
        assert set(trial.params) == set(trial.hparams) - FACTORS - {"model", "augmentation"}
        validated = ImbalanceHparams(**trial.hparams)
        inactive = {name for name, field in ImbalanceHparams.model_fields.items() if field.default is None}
        assert all(getattr(validated, name) is None for name in inactive - set(trial.hparams))


RANGES = {  # docs/design.md
    "learning_rate": (0.01, 0.3),
    "momentum": (0.7, 0.97),
    "weight_decay": (1e-5, 1e-2),
    "focal_gamma": (0.5, 3.0),
    "ldam_max_margin": (0.2, 0.8),
    "ldam_scale": (10, 30),
    "reweight_start": (0.6, 0.9),
    "balanced_softmax_tau": (0.5, 2.0),
    "sampler_exponent": (0, 1),
    "head_start": (0.6, 0.95),
    "mixing_alpha": (0.2, 1),
    "class_weight_gamma": (0, 1),
}


def test_proposals_lie_in_the_ranges_and_differ(ledger):
    searcher = make_searcher(make_stage(arms=tuple(SPACE.arms), trials_per_arm=8, searcher="random"), ledger)
    for k in range(8 * len(SPACE.arms)):
        searcher.suggest(f"ray-{k}")
    trials = ledger.book.trials.values()
    for trial in trials:
        for name, (low, high) in RANGES.items():
            if name in trial.params:
                assert low <= trial.params[name] <= high
        assert trial.params["batch_size"] in {16, 32, 64}
        assert trial.params["schedule"] in {"cosine", "linear", "multi_step"}
        assert trial.params.get("class_weight_beta", 0.99) in {0.99, 0.999, 0.9999, 0.99999}
    # Of each arm's 8 the first is shared by all; the other 7 are drawn, each on its own.
    assert len({trial.params["learning_rate"] for trial in trials}) == 7 * len(SPACE.arms) + 1


def test_larger_data_get_larger_batches():
    space = search_space(num_train=5000, model="small_cnn", augmentation="crop_flip")
    assert space.knobs(space.arms["none"])["batch_size"].choices == (64, 128, 256)
    assert SPACE.knobs(SPACE.arms["none"])["batch_size"].choices == (16, 32, 64)


def test_optuna_is_told_how_each_trial_ended_and_none_stays_running(ledger):
    stage = make_stage(arms=("none",), trials_per_arm=5)
    searcher = make_searcher(stage, ledger)
    for k in range(5):
        searcher.suggest(f"ray-{k}")
    ledger.append(*epoch_events("none-0000", 1, 0.25), *epoch_events("none-0000", 2, 0.75))
    ledger.append(finished("none-0000", "completed"))
    ledger.append(*epoch_events("none-0001", 1, 0.5), *epoch_events("none-0001", 2, 0.375))
    ledger.append(finished("none-0001", "stopped"))
    ledger.append(*epoch_events("none-0002", 1, 0.5), finished("none-0002", "failed", "the loss was nan"))
    ledger.append(*epoch_events("none-0003", 1, 0.0), finished("none-0003", "completed"))
    for k in range(4):
        searcher.on_trial_complete(f"ray-{k}")
    searcher.on_trial_complete("ray-4", error=True)  # its worker died, and Ray has given up
    completed, stopped, failed, zero, died = searcher.optuna_study("none").trials
    assert (completed.state, completed.value) == (TrialState.COMPLETE, 0.75)
    assert completed.intermediate_values == {1: 0.25, 2: 0.75}
    assert (stopped.state, stopped.value) == (TrialState.PRUNED, 0.375)
    assert failed.state == TrialState.FAIL
    assert (zero.state, zero.value) == (TrialState.COMPLETE, 0.0)
    assert died.state == TrialState.FAIL
    assert ledger.book.trials["none-0004"].status == "failed"
    assert ledger.book.trials["none-0004"].message == "the worker failed"


def test_a_trial_that_was_only_interrupted_is_not_told(ledger):
    searcher = make_searcher(make_stage(arms=("none",)), ledger)
    searcher.suggest("ray-0")
    searcher.on_trial_complete("ray-0")
    assert searcher.optuna_study("none").trials[0].state == TrialState.RUNNING
    assert ledger.book.trials["none-0000"].status == "running"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_after_a_whole_study_nothing_is_running_and_all_arms_have_their_trials(ledger, sampler):
    stage = make_stage(arms=("none", "class_balanced", "ldam_drw"), trials_per_arm=5, max_epochs=3, searcher=sampler)
    searcher = make_searcher(stage, ledger)
    conduct(searcher, make_scheduler(stage, ledger))
    trials = ledger.book.trials.values()
    assert Counter(trial.arm for trial in trials) == {"none": 5, "class_balanced": 5, "ldam_drw": 5}
    expected = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    for arm in stage.arms:
        states = [trial.state for trial in searcher.optuna_study(arm).trials]
        assert states == [expected[trial.status] for trial in ledger.book.of_arm(arm)]
    assert {trial.status for trial in trials} == {"completed", "stopped"}  # else this test shows less than it says


@pytest.mark.parametrize(("trials_per_arm", "num_startup"), [(1, 3), (6, 3), (9, 3), (12, 4), (48, 16), (751, 250)])
def test_tpe_starts_after_a_third_of_the_trials_at_least_three_and_at_most_250(
    ledger, monkeypatch, trials_per_arm, num_startup
):
    seen = []
    tpe = optuna.samplers.TPESampler

    def spy(**options):
        if options:  # Optuna makes one of its own as a study's first sampler
            seen.append(options["n_startup_trials"])
        return tpe(**options)

    monkeypatch.setattr(optuna.samplers, "TPESampler", spy)
    make_searcher(make_stage(arms=("none",), trials_per_arm=trials_per_arm), ledger).suggest("ray-0")
    assert seen == [num_startup]


def test_tpe_proposes_at_random_until_then_and_by_what_it_has_seen_afterwards(tmp_path):
    """Two studies alike but for their values (best at learning rate 0.1; worst there) part at number 3."""
    params = []
    for sign in (1, -1):
        (tmp_path / str(sign)).mkdir()
        with Ledger(tmp_path / str(sign)) as ledger:
            searcher = make_searcher(make_stage(arms=("none",), trials_per_arm=6), ledger)
            for k in range(6):
                config = searcher.suggest(f"ray-{k}")
                value = 0.5 + sign * 0.1 * value_of(config["hparams"], 1)
                ledger.append(*epoch_events(config["trial_id"], 1, value), finished(config["trial_id"], "completed"))
                searcher.on_trial_complete(f"ray-{k}")
            params.append([trial.params for trial in ledger.book.trials.values()])
    assert params[0][:3] == params[1][:3]
    assert params[0][3:] != params[1][3:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_searchers_with_the_same_history_propose_the_same(tmp_path, sampler):
    asked = []
    stage = make_stage(arms=("none", "ldam_drw"), trials_per_arm=6, max_epochs=3, searcher=sampler)
    if sampler == "gp":  # a proposal of gp costs a hundred times one of the others
        stage = make_stage(arms=("none",), trials_per_arm=5, max_epochs=3, searcher=sampler)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with Ledger(tmp_path / name) as ledger:
            asked.append(conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger)))
    assert asked[0] == asked[1]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_another_study_seed_proposes_otherwise(tmp_path, sampler):
    asked = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        with Ledger(tmp_path / str(seed)) as ledger:
            searcher = make_searcher(make_stage(arms=("none",), searcher=sampler, seed=seed), ledger)
            asked.append([searcher.suggest(f"ray-{k}")["hparams"] for k in range(3)])
    assert asked[0][0] == asked[1][0]  # the start point
    assert asked[0][1:] != asked[1][1:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_killed_after_any_event_a_rebuilt_searcher_proposes_what_the_first_did(tmp_path, sampler):
    """Kill after event n; resume; let the rest of what was running happen as it did; the next proposal is the same."""
    stage = make_stage(arms=("none", "class_balanced"), trials_per_arm=6, max_epochs=2, searcher=sampler)
    (tmp_path / "whole").mkdir()
    with Ledger(tmp_path / "whole") as ledger:
        conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger), slots=3)
        history = list(ledger.events())
    asks = [position for position, event in enumerate(history) if event.kind == ASKED]
    assert len(asks) == 12
    # A proposal of gp costs a hundred times one of the others.
    kills = range(asks[7], len(history), 5) if sampler == "gp" else range(len(history))
    num_compared = 0
    for kill in kills:
        next_ask = next((position for position in asks if position >= kill), None)
        if next_ask is None:
            continue
        (tmp_path / str(kill)).mkdir()
        with Ledger(tmp_path / str(kill)) as ledger:
            ledger.append(*history[:kill])
        with Ledger(tmp_path / str(kill)) as ledger:
            searcher = make_searcher(stage, ledger)
            unfinished = [trial.trial_id for trial in ledger.book.trials.values() if not trial.is_finished]
            ray_ids = {searcher.suggest(f"ray-{trial_id}")["trial_id"]: f"ray-{trial_id}" for trial_id in unfinished}
            assert list(ray_ids) == unfinished  # first of all, and in the order in which they were asked for
            for event in history[kill:next_ask]:
                ledger.append(event)
                if event.kind == FINISHED:
                    searcher.on_trial_complete(ray_ids[event.trial_id])
            searcher.suggest("ray-next")
            assert list(ledger.events())[next_ask] == history[next_ask], f"killed after {kill} events"
        num_compared += 1
    assert num_compared >= 3


@pytest.mark.parametrize("sampler", ["cmaes", "qmc", "tpe"])
def test_a_sampler_well_under_way_is_rebuilt_too(tmp_path, sampler):
    """30 trials: CMA-ES, 7 a generation from number 10 on, is in its third, which it keeps in Optuna's study."""
    stage = make_stage(arms=("none",), trials_per_arm=30, max_epochs=1, searcher=sampler)
    (tmp_path / "whole").mkdir()
    with Ledger(tmp_path / "whole") as ledger:
        conduct(make_searcher(stage, ledger), make_scheduler(stage, ledger), slots=1)
        history = list(ledger.events())
    asks = [position for position, event in enumerate(history) if event.kind == ASKED]
    for number in (12, 20, 28, 29):
        (tmp_path / str(number)).mkdir()
        with Ledger(tmp_path / str(number)) as ledger:
            ledger.append(*history[: asks[number]])
            make_searcher(stage, ledger).suggest("ray-next")
            assert list(ledger.events())[-1] == history[asks[number]], f"number {number}"


def test_when_the_study_should_end_nothing_more_is_proposed(ledger):
    searcher = make_searcher(make_stage(), ledger, should_end=lambda: True)
    assert searcher.suggest("ray-0") == Searcher.FINISHED
    assert ledger.book.trials == {}


def test_the_grid_of_one_arm_worked_by_hand():
    """focal, 5 points: the start, then learning rate 0.01, 0.3 x focal_gamma 0.5, 3; the rest stays."""
    start = SPACE.start_point(SPACE.arms["focal"])
    points = grid_points(SPACE, SPACE.arms["focal"], 5)
    assert points[0] == start
    assert {(point["learning_rate"], point["focal_gamma"]) for point in points[1:]} == {
        (0.01, 0.5),
        (0.01, 3.0),
        (0.3, 0.5),
        (0.3, 3.0),
    }
    others = set(start) - {"learning_rate", "focal_gamma"}
    assert all(point[name] == start[name] for point in points for name in others)


def test_the_levels_of_a_grid_are_even_on_the_knobs_own_scale():
    """none has the learning rate alone: 4 levels, log-even from 0.01 to 0.3, each 30^(1/3) = 3.1072 times the last."""
    points = grid_points(SPACE, SPACE.arms["none"], 4)
    rates = [point["learning_rate"] for point in points]
    assert len(points) == 4
    assert rates[0] == 0.05
    # Four levels cut to the three places left: the first, the second and the third.
    assert rates[1:] == pytest.approx([0.01, 0.031072, 0.096549], rel=1e-4)


@pytest.mark.parametrize("arm", SPACE.arms)
@pytest.mark.parametrize("num_points", [1, 2, 6, 48])
def test_no_grid_is_longer_than_asked_for_and_none_repeats_a_point(arm, num_points):
    points = grid_points(SPACE, SPACE.arms[arm], num_points)
    assert 1 <= len(points) <= num_points
    assert len({tuple(point.items()) for point in points}) == len(points)


def test_optuna_reads_the_tuned_metric(ledger):
    assert IMBALANCE.metric == METRIC
    assert make_searcher(make_stage(), ledger).optuna_study("none").direction == optuna.study.StudyDirection.MAXIMIZE


def test_no_sampler_warns_of_anything(ledger, recwarn, caplog):
    """Nothing is silenced but that an interface is experimental: a range that changes, or a fixed value, would warn."""
    for sampler in SAMPLERS:
        stage = make_stage(arms=("none",), trials_per_arm=5, max_epochs=2, searcher=sampler)
        proposer = make_searcher(stage, ledger)._proposers["none", PLAIN]
        for number in range(5):
            _, hparams = proposer.ask(number, str(number))
            value = value_of(hparams, 1)
            proposer.tell(
                SimpleNamespace(trial_id=str(number), epochs=[], status="completed", value=lambda _, v=value: v)
            )
    assert not recwarn.list
    assert not caplog.records
