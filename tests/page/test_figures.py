"""The figures' data, not their pixels; and that every draw function draws what its data function gives."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from fake_run import CLASS_NAMES, FAKES, FOURTEEN_ARMS, LONG_TAIL_ARMS, LONG_TAILS, SIX_ARMS, SUPERCLASSES, write_run
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas

from study.analysis import knobs, results
from study.analysis.tables import Tables, load_tables
from study.page.figures import base as figures_base
from study.page.figures import class_groups as figures_groups
from study.page.figures import classes as figures_classes
from study.page.figures import losses as figures_losses
from study.page.figures import puzzles as figures_puzzles
from study.page.figures import scores as figures_scores
from study.page.figures import slices as figures_slices
from study.page.figures import superclasses as figures_superclasses
from study.page.figures import tau as figures_tau
from study.page.figures import transfer as figures_transfer
from study.page.figures import tuning as figures_tuning
from study.page.figures.base import Figure
from study.page.figures.labels import plain
from study.page.task import TaskPage
from study.page.tasks.registry import PAGES, find_page

CONTROLLED_ARMS = ("none", "focal")
EVERY_FIGURE = tuple({figure.name: figure for page in PAGES.values() for figure in page.figures}.values())
BY_NAME = {figure.name: figure for figure in EVERY_FIGURE}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tables]:
    """A fake run of each task, that of imbalance with a failed trial, one of each long tail, and one with controls."""
    folder = tmp_path_factory.mktemp("runs")
    failed = {"imbalance": ["focal-0002"]}
    fakes = {task: load_tables(write_run(folder / task, task=task, failed=failed.get(task, ()))) for task in FAKES}
    controlled = write_run(folder / "controlled", arms=CONTROLLED_ARMS, control_trials=4, searches=2)
    fakes |= {"controlled": load_tables(controlled)}
    return fakes | {name: load_tables(write_run(folder / name, fake=fake)) for name, fake in LONG_TAILS.items()}


def page_of(run: str) -> TaskPage:
    return PAGES.get(run, PAGES["imbalance"])


@pytest.fixture(scope="module")
def tables(runs: dict[str, Tables]) -> Tables:
    return runs["imbalance"]


def test_names_are_unique_and_captions_are_sentences() -> None:
    assert len(BY_NAME) == len(EVERY_FIGURE)
    assert all(figure.caption.endswith(".") and not figure.title.endswith(".") for figure in EVERY_FIGURE)


# What fits few classes of one size, and what fits many of many sizes.
MANY_TRIALS = {"arm_importance"}
FEW_CLASSES = {"recall", "confusion"}
OF_GROUPS = {"class_groups", "recall_by_count"}
OF_SUPERCLASSES = {"superclass_recall", "superclass_confusion"}
OF_CONTROLS = {"anytime", "expected"}
INAPPLICABLE = {
    "baseline": {"importance"} | MANY_TRIALS | OF_GROUPS | OF_SUPERCLASSES | OF_CONTROLS,  # of 18 trials
    "imbalance": MANY_TRIALS | {"recall_by_count"} | OF_SUPERCLASSES | OF_CONTROLS,
    "cifar100": MANY_TRIALS | FEW_CLASSES | OF_GROUPS | OF_CONTROLS,
    "jigsaw": MANY_TRIALS | OF_CONTROLS,
    "hundred": MANY_TRIALS | FEW_CLASSES | OF_CONTROLS,
    "ten": MANY_TRIALS | {"recall_by_count"} | OF_SUPERCLASSES | OF_CONTROLS,
    "controlled": MANY_TRIALS | {"recall_by_count"} | OF_SUPERCLASSES,
}
OF_RUNS = [
    (run, figure.name)
    for run in INAPPLICABLE
    for figure in page_of(run).figures
    if figure.name not in INAPPLICABLE[run]
]


@pytest.mark.parametrize("run", INAPPLICABLE)
def test_figures_of_classes_apply_by_number_and_sizes_of_the_classes(runs: dict[str, Tables], run: str) -> None:
    assert {figure.name for figure in page_of(run).figures if not figure.applies(runs[run])} == INAPPLICABLE[run]


@pytest.mark.parametrize(("task", "name"), OF_RUNS)
def test_every_figure_has_data_and_a_description_for_each_of_its_runs(
    runs: dict[str, Tables], task: str, name: str
) -> None:
    data = BY_NAME[name].data(runs[task])
    assert BY_NAME[name].draw(data).axes
    assert BY_NAME[name].alt(data)


@pytest.mark.parametrize("name", sorted({name for _, name in OF_RUNS}))
def test_every_figure_is_a_png(runs: dict[str, Tables], name: str) -> None:
    """Of the one of its runs that has the fewest arms: to lay out their panels and labels is what takes long."""
    task = min((task for task, figure in OF_RUNS if figure == name), key=lambda task: len(runs[task].arms))
    picture = figures_base.render(BY_NAME[name], BY_NAME[name].data(runs[task]))
    assert picture.png.startswith(b"\x89PNG")


@pytest.mark.parametrize("task", FAKES)
def test_every_figure_says_none_for_empty_tables_and_why_in_words(tmp_path: Path, task: str) -> None:
    empty = load_tables(write_run(tmp_path / "run", task=task, with_trials=False, interrupted=True))
    page = find_page(empty.task)
    for figure in page.figures:
        assert figure.data(empty) is None
        assert "{" not in (figure.title + figure.caption + figure.absent).format(**page.words(empty))


def test_pages_show_the_figures_of_their_task_alone(runs: dict[str, Tables]) -> None:
    of_classes = {"confusion"} | OF_GROUPS | OF_SUPERCLASSES
    own = {
        "imbalance": {"tau", *of_classes},
        "baseline": of_classes,
        "cifar100": {"losses", "accuracies", *of_classes},
        "jigsaw": {"transfer", "classifier_curves", "puzzles", "sinkhorn", "pretext_curves"},
    }
    shared = set.intersection(*({figure.name for figure in page.figures} for page in PAGES.values()))
    assert {"scores", "differences", "recall", "curves", "slices", "budget", "retest_curves"} <= shared
    for task, names in own.items():
        assert {figure.name for figure in PAGES[task].figures} == shared | names


def svg_of(figure: Figure, data: object) -> ElementTree.Element:
    picture = figures_base.render(figure, data)
    assert picture.svg is not None
    return ElementTree.fromstring(zlib.decompress(picture.svg))


def test_the_same_data_give_the_same_png_and_the_same_svg(tables: Tables, svgs_are_drawn: None) -> None:
    figure = BY_NAME["scores"]
    first, second = (figures_base.render(figure, figure.data(tables)) for _ in range(2))
    assert first == second
    assert first.svg is not None


def test_an_svg_has_its_letters_as_outlines_and_says_what_it_shows(tables: Tables, svgs_are_drawn: None) -> None:
    figure = BY_NAME["scores"]
    svg = svg_of(figure, figure.data(tables))
    assert svg.tag == f"{SVG}svg"
    assert svg.findtext(f"{SVG}title") == figure.alt(figure.data(tables))
    assert svg.find(f".//{SVG}use") is not None
    assert svg.find(f".//{SVG}text") is None


def test_names_from_outside_run_nothing_in_an_svg_and_leave_it_whole(svgs_are_drawn: None) -> None:
    evil = "--><script>alert(1)</script><a href='javascript:alert(1)' onload='alert(1)'>]]>"

    def draw(title: str) -> Canvas:
        canvas = Canvas(figsize=(4, 1))
        canvas.subplots().set_title(plain(title, 200))
        return canvas

    svg = svg_of(replace(BY_NAME["scores"], draw=draw, alt=str), f"{evil}\x1b\udce9")
    assert svg.findtext(f"{SVG}title") == f"{evil}??"
    assert not {one.tag for one in svg.iter()} & {f"{SVG}{tag}" for tag in ("script", "a", "foreignObject")}
    attributes = [(name, value) for one in svg.iter() for name, value in one.attrib.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    assert {value[0] for name, value in attributes if name.endswith("href")} == {"#"}


def test_an_svg_that_is_too_long_for_a_page_is_left_out_and_its_png_is_the_same(
    tables: Tables, svgs_are_drawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = BY_NAME["scores"]
    whole = figures_base.render(figure, figure.data(tables))
    assert whole.svg is not None
    for longest in (len(zlib.decompress(whole.svg).decode()) - 1, 0):
        monkeypatch.setattr(figures_base, "MOST_SVG_CHARACTERS", longest)
        assert figures_base.render(figure, figure.data(tables)) == replace(whole, svg=None)


def test_scores_are_percent_and_hold_every_seed(tables: Tables) -> None:
    data = figures_scores.scores_data(tables)
    assert data is not None
    (dots,) = data.groups
    assert data.xlabel == "Test balanced accuracy (%)"
    assert len(dots.seeds) == 18
    for arm in dots.arms.itertuples():
        by_hand = 100 * np.mean(tables.retests.loc[tables.retests["arm"] == arm.arm, "test_balanced_accuracy"])
        assert arm.mean == pytest.approx(by_hand)
        assert arm.low < arm.mean < arm.high
    assert dots.reference == pytest.approx(dots.arms.set_index("arm").loc["none", "mean"])
    assert list(dots.arms["role"]).count("best") == 1


def test_differences_leave_the_control_out_and_are_the_seeds_mean(tables: Tables) -> None:
    data = figures_scores.differences_data(tables)
    assert data is not None
    (dots,) = data.groups
    assert set(dots.arms["arm"]) == set(SIX_ARMS) - {"none"}
    means = dots.seeds.groupby("arm")["value"].mean()
    assert all(arm.mean == pytest.approx(means[arm.arm]) for arm in dots.arms.itertuples())


def test_a_panel_a_group_each_with_its_own_control(runs: dict[str, Tables]) -> None:
    data = figures_scores.scores_data(runs["jigsaw"])
    differences = figures_scores.differences_data(runs["jigsaw"])
    assert data is not None
    assert differences is not None
    assert [group.title for group in data.groups] == ["10 % of the labels", "100 % of the labels"]
    for group, paired in zip(data.groups, differences.groups, strict=True):
        means = group.arms.set_index("arm")["mean"]
        assert group.reference == pytest.approx(means[group.control])
        for arm in paired.arms.itertuples():
            assert arm.mean == pytest.approx(means[arm.arm] - means[group.control])
    assert set(data.groups[0].arms["arm"]) == {"scratch_10pct", "scratch_equal_epochs_10pct", "jigsaw_10pct"}


def test_curves_end_where_the_trial_ended(tables: Tables) -> None:
    data = figures_tuning.curves_data(tables)
    assert data is not None
    assert [panel.title for panel in data.panels] == list(SIX_ARMS)
    ends = pd.concat([panel.ends for panel in data.panels]).set_index("trial_id")
    trials = tables.trials.set_index("trial_id")
    assert (ends["epoch"] == trials["epochs"].reindex(ends.index)).all()
    assert (ends.loc[ends["status"] == "completed", "epoch"] == 9).all()
    assert set(ends.loc[ends["status"] == "stopped", "epoch"]) <= {1, 3}
    assert ends["is_winner"].sum() == 6
    assert {panel.rung_epochs for panel in data.panels} == {(1, 3)}


def test_survivors_sum_to_the_trials_of_each_arm(tables: Tables) -> None:
    data = figures_tuning.survivors_data(tables)
    assert data is not None
    end = data[data["column"] == "In the end"].groupby("arm")["num_trials"].sum()
    assert (end == 6).all()
    is_failed = (data["arm"] == "focal") & (data["outcome"] == "failed")
    assert data.loc[is_failed, "num_trials"].sum() == 1


def test_slices_leave_out_trials_without_a_score_and_know_their_axes(tables: Tables) -> None:
    data = figures_slices.slices_data(tables)
    assert data is not None
    scales = {knob: axis.scale for knob, axis in data.axes.items()}
    assert scales == {"learning_rate": "log", "momentum": "linear", "weight_decay": "log"}
    assert len(data.trials) == 3 * 35
    assert "focal-0002" not in set(data.trials["trial_id"])


def test_a_knob_that_an_arm_fixes_at_zero_is_not_put_on_a_logarithmic_axis(tmp_path: Path) -> None:
    """memorise has no weight decay: its other knobs are shown, and the other arm's decay."""
    tables = load_tables(write_run(tmp_path / "run", task="cifar100", arms=("memorise", "both")))
    trials = tables.trials.copy()
    trials.loc[trials["arm"] == "memorise", "config/weight_decay"] = 0.0
    data = figures_slices.slices_data(replace(tables, trials=trials))
    assert data is not None
    shown = data.trials[data.trials["knob"] == "weight_decay"]
    assert set(shown["arm"]) == set(tables.arms) - {"memorise"}
    assert "memorise" in set(data.trials.loc[data.trials["knob"] == "learning_rate", "arm"])
    assert figures_base.render(BY_NAME["slices"], data).png.startswith(b"\x89PNG")


def test_own_slices_show_an_arms_own_knob_and_no_constant(tables: Tables) -> None:
    data = figures_slices.own_slices_data(tables)
    assert data is not None
    pairs = set(data.trials[["arm", "knob"]].itertuples(index=False, name=None))
    assert pairs == {
        ("inverse_weights", "class_weight_exponent"),
        ("class_balanced", "class_weight_beta"),
        ("focal", "focal_gamma"),
        ("logit_adjustment", "logit_adjustment_tau"),
        ("weighted_sampler", "sampler_exponent"),
    }
    assert data.axes["class_weight_beta"].scale == "logit"


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.1, 1.9], "linear"),
        ([0.1, 2.1], "log"),
        ([0.0, 100.0], "linear"),
        ([0.99, 0.9999], "logit"),
        ([0.9, 0.99], "linear"),
        (["cosine", "linear"], "category"),
        ([True, False], "category"),
    ],
)
def test_a_scale_that_was_not_recorded_follows_from_the_values(values: list[object], scale: str) -> None:
    assert knobs.inferred_axis(pd.Series(values)).scale == scale


def test_scale_and_range_are_those_that_the_arms_searched(tables: Tables) -> None:
    axes_of = {
        "none": {"learning_rate": {"scale": "log", "low": 0.01, "high": 0.2}},
        "focal": {"learning_rate": {"scale": "log", "low": 0.003, "high": 0.1}, "optimizer": {"scale": "category"}},
    }
    recorded = replace(tables, summary={**tables.summary, "knobs": axes_of})
    axis = knobs.knob_axis(recorded, "learning_rate", pd.Series([0.1, 0.2]))
    assert axis == knobs.Axis(scale="log", low=0.003, high=0.2)
    assert knobs.knob_axis(recorded, "optimizer", pd.Series([0, 1])).scale == "category"
    assert knobs.knob_axis(recorded, "momentum", pd.Series([0.5, 0.9])).scale == "linear"


def test_recalls_are_the_means_over_seeds_in_class_order(tables: Tables) -> None:
    data = figures_classes.recalls_data(tables, "training images after thinning")
    assert data is not None
    assert tuple(data.recall.columns) == CLASS_NAMES
    rows = tables.retests.loc[tables.retests["arm"] == "none", "per_class_recall"]
    assert data.recall.loc["none", "bird"] == pytest.approx(100 * sum(row[2] for row in rows) / 3)
    assert data.class_counts == (500,) * 5 + (5000,) * 5  # of the retests; those of tuning are a tenth fewer


def test_recalls_of_arms_on_different_numbers_of_images_have_no_counts(runs: dict[str, Tables]) -> None:
    """Tuning's would be taken for theirs."""
    retests = runs["jigsaw"].retests
    fewer = retests["num_train"].where(retests["arm"] != "jigsaw_10pct", 5_000)
    tables = replace(runs["jigsaw"], retests=retests.assign(num_train=fewer))
    data = figures_classes.recalls_data(tables, "training images")
    assert data is not None
    assert data.class_counts is None
    (ax, _) = figures_classes.draw_recalls(data).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == list(CLASS_NAMES)
    assert ax.get_xlabel() == "Class"


def test_choices_stand_in_the_order_of_their_names(tables: Tables) -> None:
    trials = pd.DataFrame(
        {"arm": "none", "knob": "schedule", "value": ["step", "cosine", "linear"], "objective": [1.0, 2.0, 3.0]}
    ).assign(status="completed", is_winner=False, trial_id="t")
    data = figures_slices.Slices(
        ylabel="", arms=("none",), knobs=("schedule",), trials=trials, axes={"schedule": knobs.Axis(scale="category")}
    )
    (ax,) = figures_slices.draw_own_slices(data).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cosine", "linear", "step"]


@pytest.mark.parametrize("name", ["none", "class_balanced_weighted_sampler", "an_arm_of_a_very_long_name" * 6])
@pytest.mark.parametrize("num_columns", [1, 2, 3])
def test_a_heading_ends_inside_the_figure(name: str, num_columns: int) -> None:
    canvas, axes = figures_base.panels(num_columns, num_columns, 1.5, sharey=True)
    canvas.supylabel("Score\nin two lines (%)")
    for ax in axes:
        figures_base.set_title(ax, name)
    canvas.draw_without_rendering()
    assert max(ax._left_title.get_window_extent().x1 for ax in axes) <= canvas.bbox.x1  # type: ignore[attr-defined]
    whole = axes[0].get_title(loc="left") == name
    assert whole == (len(name) < 40)


def test_confusions_are_of_control_and_best_remedy_and_rows_sum_to_100(tables: Tables) -> None:
    data = figures_classes.confusions_data(tables)
    assert data is not None
    assert list(data.matrices) == ["none", results.ranked_arms(tables)[0]]
    assert all(np.allclose(matrix.sum(axis=1), 100) for matrix in data.matrices.values())


def test_curves_of_many_trials_are_a_few_artists() -> None:
    """An artist a trial took seconds of a large study's page."""
    names = [f"trial-{number}" for number in range(200)]
    points = pd.DataFrame({"trial_id": np.repeat(names, 2), "epoch": [1, 2] * 200, "value": [50.0, 60.0] * 200})
    ends = pd.DataFrame({"trial_id": names, "epoch": 2, "value": 60.0, "status": "stopped", "is_winner": False})
    panel = figures_tuning.CurvePanel(title="none", points=points, ends=ends, rung_epochs=(1,))
    (ax,) = figures_tuning.draw_curves(figures_tuning.Curves(ylabel="score", panels=(panel,))).axes
    assert sum(len(lines.get_segments()) for lines in ax.collections if isinstance(lines, LineCollection)) == 200
    assert len(ax.lines) + len(ax.collections) < 10


def test_retest_curves_average_the_seeds(tables: Tables) -> None:
    data = figures_losses.retest_curves_data(tables)
    assert data is not None
    assert list(data["arm"].drop_duplicates()) == list(SIX_ARMS)
    assert (data["n"] == 3).all()
    assert ((data["low"] <= data["mean"]) & (data["mean"] <= data["high"])).all()
    assert list(data.loc[data["arm"] == "focal", "epoch"]) == list(range(1, 10))


TWO_ARMS = ("none", "focal")


@pytest.mark.parametrize(
    "options",
    [{"arms": FOURTEEN_ARMS}, {"arms": TWO_ARMS, "retest_seeds": (1,)}, {"arms": TWO_ARMS, "interrupted": True}],
)
def test_odd_runs_draw_without_a_warning(
    tmp_path: Path, options: dict[str, object], recwarn: pytest.WarningsRecorder
) -> None:
    odd = load_tables(write_run(tmp_path / "run", **options))  # type: ignore[arg-type]
    for name in ("scores", "differences", "curves", "survivors", "budget", "own_slices"):
        data = BY_NAME[name].data(odd)
        if data is not None:
            figures_base.render(BY_NAME[name], data)
    assert [str(warning.message) for warning in recwarn if warning.category is UserWarning] == []


def test_a_dollar_sign_in_a_class_name_is_no_formula(tmp_path: Path) -> None:
    names = ["a$b$", "c$_{", *CLASS_NAMES[2:]]
    odd = load_tables(write_run(tmp_path / "run", class_names=names))
    for name in ("recall", "confusion"):
        assert figures_base.render(BY_NAME[name], BY_NAME[name].data(odd))


# --- figures of single tasks


def test_tau_figure_marks_the_chosen_tau_of_each_arm(tables: Tables) -> None:
    data = figures_tau.tau_data(tables)
    assert data is not None
    for _, sweep in data.groupby("arm"):
        assert sweep["is_chosen"].sum() == 1
        assert sweep.loc[sweep["is_chosen"], "validation"].iloc[0] == sweep["validation"].max()
    none = data[(data["arm"] == "none") & (data["tau"] == 0)].iloc[0]
    retests = tables.retests[tables.retests["arm"] == "none"]
    assert none["mean"] == pytest.approx(100 * retests["test_balanced_accuracy"].mean())
    assert (none["low"], none["high"]) == pytest.approx(
        (100 * retests["test_balanced_accuracy"].min(), 100 * retests["test_balanced_accuracy"].max())
    )


def test_losses_follow_the_retest_and_the_winners_validation(runs: dict[str, Tables]) -> None:
    for data, measure, scale in (
        (figures_losses.losses_data(runs["cifar100"]), "loss", 1),
        (figures_losses.accuracies_data(runs["cifar100"]), "accuracy", 100),
    ):
        assert data is not None
        points = data.points[(data.points["arm"] == "plain") & (data.points["epoch"] == 4)].set_index("split")
        assert list(points["n"][["training", "validation", "test"]]) == [3, 1, 3]
        epochs = runs["cifar100"].epochs
        at = epochs[(epochs["arm"] == "plain") & (epochs["epoch"] == 4) & (epochs["stage"] == "retest")]
        assert points.loc["test", "mean"] == pytest.approx(scale * at[f"test_{measure}"].mean())
        assert points.loc["training", "mean"] == pytest.approx(scale * at[f"train_eval_{measure}"].mean())
        said = re.findall(r"(training|validation|test) [\d.]+", BY_NAME["losses"].alt(data))
        assert said == ["training", "validation", "test"] * len(data.arms)


def test_transfer_points_are_percent_of_labels_and_of_score(runs: dict[str, Tables]) -> None:
    data = figures_transfer.transfer_data(runs["jigsaw"])
    assert data is not None
    points = data.points.set_index(["initialisation", "label_fraction"])
    assert len(points) == 6
    retests = runs["jigsaw"].retests
    by_hand = 100 * retests.loc[retests["arm"] == "jigsaw_10pct", "test_accuracy"].mean()
    assert points.loc[("jigsaw", 10.0), "mean"] == pytest.approx(by_hand)


def test_classifier_curves_are_the_winners_alone(runs: dict[str, Tables]) -> None:
    data = figures_transfer.classifier_curves_data(runs["jigsaw"])
    assert data is not None
    lengths = data.points.groupby(["title", "initialisation"])["epoch"].agg(["count", "max"])
    assert set(lengths.loc[("10 % of the labels", "jigsaw")]) == {9}
    assert set(lengths.loc[("100 % of the labels", "scratch_equal_epochs")]) == {15}


def test_pretext_curves_have_a_panel_a_measure_with_its_chance(runs: dict[str, Tables]) -> None:
    data = figures_puzzles.pretext_curves_data(runs["jigsaw"])
    assert data is not None
    exact, tiles = data.panels
    assert (exact.title, tiles.title) == ("jigsaw_2x2: puzzles solved exactly", "jigsaw_2x2: tiles in place")
    assert (exact.chance, tiles.chance) == pytest.approx((100 / 24, 25))
    assert set(exact.points["trial_id"].str.startswith("jigsaw_2x2")) == {True}


def test_a_puzzle_is_shuffled_and_solved_tile_by_tile() -> None:
    # Tiles 0 1 / 2 3 of a 2 x 2 image; the puzzle shows 2 0 / 3 1, and the net swaps its first two.
    tiles = figures_puzzles.cut(np.array([[0.0, 1.0], [2.0, 3.0]]), 2)
    puzzle = figures_puzzles.Puzzle(
        number=0,
        grid=2,
        tiles=tiles,
        permutation=np.array([2, 0, 3, 1]),
        predicted=np.array([0, 2, 3, 1]),
        sinkhorn=np.eye(4),
    )
    assert figures_puzzles.joined(puzzle.shuffled, 2).tolist() == [[2, 0], [3, 1]]
    # Tile 2 is put at place 0, tile 0 at place 2; tiles 3 and 1 are where they belong.
    assert figures_puzzles.joined(puzzle.solved, 2).tolist() == [[2, 1], [0, 3]]
    assert puzzle.wrong_places == [0, 2]


def test_a_grid_that_does_not_divide_the_image_cuts_its_middle() -> None:
    image = np.arange(25.0).reshape(5, 5)
    tiles = figures_puzzles.cut(image, 2)
    # Tiles of 2 x 2; the window of 4 begins at (5 - 4) // 2 = 0.
    assert tiles[0].tolist() == [[0, 1], [5, 6]]
    assert tiles[3].tolist() == [[12, 13], [17, 18]]
    assert figures_puzzles.joined(tiles, 2).tolist() == image[:4, :4].tolist()


def test_sinkhorn_shows_the_first_solved_and_the_first_unsolved_puzzle(runs: dict[str, Tables]) -> None:
    data = figures_puzzles.sinkhorn_data(runs["jigsaw"])
    assert data is not None
    assert [puzzle.number for puzzle in data] == [0, 2]  # every third puzzle of the fake is wrong
    assert [len(puzzle.wrong_places) for puzzle in data] == [0, 2]


# --- long tails and superclasses


def test_the_dots_of_groups_say_what_each_group_holds(runs: dict[str, Tables]) -> None:
    data = figures_groups.groups_data(runs["hundred"])
    assert data is not None
    assert data.control == "none"
    # The published groups of CIFAR-100 at a ratio of 100: 35, 35 and 30 classes.
    assert data.groups == {
        "many-shot": "35 classes of\n102 to 500 images",
        "medium-shot": "35 classes of\n20 to 98 images",
        "few-shot": "30 classes of\n5 to 19 images",
    }
    assert len(data.recalls) == 3 * len(LONG_TAIL_ARMS)
    retests = runs["hundred"].retests
    few = np.mean([row[70:] for row in retests.loc[retests["arm"] == "none", "per_class_recall"]])
    (drawn,) = data.recalls[(data.recalls["arm"] == "none") & (data.recalls["group"] == "few-shot")].itertuples()
    assert drawn.mean == pytest.approx(100 * few)
    assert drawn.low < drawn.mean < drawn.high


def test_recall_over_training_images_has_a_point_a_class_and_a_line_of_tenths(runs: dict[str, Tables]) -> None:
    data = figures_groups.by_count_data(runs["hundred"])
    assert data is not None
    assert list(data.points["count"][[0, 35, 99]]) == [500, 98, 5]
    retests = runs["hundred"].retests
    rows = np.array(retests.loc[retests["arm"] == "ldam_drw", "per_class_recall"].tolist())
    assert data.points["ldam_drw"][3] == pytest.approx(100 * rows[:, 3].mean())
    assert len(data.lines) == 10
    # The ten most frequent classes are the first bin: no two of them are of one size.
    assert data.lines["ldam_drw"].iloc[0] == pytest.approx(100 * rows[:, :10].mean())
    # 500 / 100^(j / 99), rounded down, of j = 0 to 9: their geometric mean is near that of the first and the last.
    assert data.lines["count"].iloc[0] == pytest.approx(np.sqrt(500 * 328), rel=0.01)
    # Between 102 and 98, and between 20 and 19.
    assert data.bounds == pytest.approx([99.98, 19.49], abs=0.01)


def test_superclasses_are_columns_and_rows_with_their_names(runs: dict[str, Tables]) -> None:
    recall = figures_superclasses.recalls_data(runs["hundred"])
    confusions = figures_superclasses.confusions_data(runs["hundred"])
    assert recall is not None
    assert confusions is not None
    assert recall.shape == (6, 20)
    assert recall.columns[1] == confusions.names[1] == "fish"
    assert len(set(recall.columns)) == 20
    assert all(len(label) <= 24 for label in recall.columns)
    assert {name for name in SUPERCLASSES if len(name) <= 24} <= set(recall.columns)
    assert next(iter(confusions.matrices)) == "none"
    assert all(matrix.sum(axis=1) == pytest.approx(100) for matrix in confusions.matrices.values())
