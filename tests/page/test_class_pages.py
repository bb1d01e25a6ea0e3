"""What a page says of frequent and rare classes, and of more classes than it can label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fake_run import FAKES, LONG_TAILS, FakeTask, write_run

from study.analysis.tables import Tables, load_tables
from study.page import answers
from study.page.class_tables import group_recalls_table, groups_table, hardest_table
from study.page.render import render_page
from study.page.tasks.registry import find_page
from study.records import tables as records

TEN, HUNDRED = LONG_TAILS["ten"], LONG_TAILS["hundred"]
# Three classes of 1,000, 50 and 10 images in tuning, of 1,111, 55 and 11 in the retests.
THREE = replace(TEN, class_names=("a", "b", "c"), class_counts=(1000, 50, 10), retest_counts=(1111, 55, 11))


def set_recalls(run_dir: Path, recalls: Mapping[str, Sequence[Sequence[float]]]) -> Tables:
    """Replace the retests by given recalls of each class, a list a seed."""
    template = records.read_table(run_dir / "retests.parquet").to_pylist()[0]
    rows = [
        {
            **template,
            "arm": arm,
            "trial_id": f"{arm}-0000",
            "seed": seed,
            "per_class_recall": recall,
            "test_balanced_accuracy": sum(recall) / len(recall),
        }
        for arm, seeds in recalls.items()
        for seed, recall in enumerate(seeds, start=1)
    ]
    records.write_table(run_dir / "retests.parquet", rows, records.RETESTS)
    return load_tables(run_dir)


def tail(path: Path, recalls: Mapping[str, Sequence[Sequence[float]]], fake: FakeTask = THREE) -> Tables:
    arms = tuple(recalls)
    return set_recalls(write_run(path / "run", fake=fake, arms=arms, control=arms[0]), recalls)


def remarks(tables: Tables) -> str:
    return " ".join(answers.remarks(find_page(tables.task), tables))


NONE = [[0.90, 0.80, 0.10], [0.90, 0.80, 0.10], [0.90, 0.80, 0.10]]


def test_the_remark_says_what_the_best_remedy_gains_and_loses_in_which_group(tmp_path: Path) -> None:
    focal = [[0.85, 0.81, 0.40], [0.84, 0.79, 0.42], [0.83, 0.80, 0.44]]
    # One remedy, three groups: 98.33 %, t(2, .99167) = 7.6488, times s / √3.
    # a: -.05 -.06 -.07, half-width 7.6488 * .01 / 1.732051 = .04416; c: .30 .32 .34, .08832; b: .01 -.01 0.
    assert (
        "Against no remedy, focal loses 6.0 points of recall on the many-shot classes (paired interval 1.6–10.4, "
        "adjusted for 3 comparisons) and gains 32.0 points on the few-shot classes (paired interval 23.2–40.8, "
        "adjusted for 3 comparisons); on the medium-shot classes no difference is measurable."
    ) in remarks(tail(tmp_path, {"none": NONE, "focal": focal}))


def test_gains_in_several_groups_are_one_list(tmp_path: Path) -> None:
    focal = [[0.92, 0.90, 0.40], [0.92, 0.91, 0.42], [0.92, 0.89, 0.44]]
    text = remarks(tail(tmp_path, {"none": NONE, "focal": focal}))
    assert "focal gains 2.0 points of recall on the many-shot classes (paired" in text
    assert "), 10.0 points on the medium-shot classes (paired" in text
    assert ") and 32.0 points on the few-shot classes (paired" in text


def test_the_remark_invents_no_difference(tmp_path: Path) -> None:
    focal = [[0.95, 0.85, 0.05], [0.85, 0.75, 0.30], [0.91, 0.81, 0.12]]
    assert (
        "Between focal and no remedy, no difference in recall is measurable on the many-shot, medium-shot and few-shot "
        "classes (paired intervals, adjusted for 3 comparisons)."
    ) in remarks(tail(tmp_path, {"none": NONE, "focal": focal}))


def test_one_seed_and_classes_of_one_size_get_no_such_remark(tmp_path: Path) -> None:
    one = tail(tmp_path / "one", {"none": NONE[:1], "focal": [[0.8, 0.8, 0.9]]})
    equal = replace(THREE, class_counts=(50, 50, 50), retest_counts=(55, 55, 55))
    flat = tail(tmp_path / "flat", {"none": NONE, "focal": [[0.8, 0.8, 0.9]] * 3}, equal)
    assert "-shot classes" not in remarks(one) + remarks(flat)
    assert groups_table(flat) is None
    assert "Frequent and rare classes" not in render_page(find_page("imbalance"), flat, [])


def test_the_table_of_groups_gives_thresholds_classes_and_images(tmp_path: Path) -> None:
    table = groups_table(load_tables(write_run(tmp_path / "run", fake=HUNDRED, arms=("none", "ldam_drw"))))
    assert table is not None
    assert "many-shot, more than 100; medium-shot, 20 to 100; few-shot, fewer than 20." in table.caption
    assert "did not record" not in table.caption
    # 500 / 100^(j / 99): 101.9 at j = 34 and 97.3 at 35, 20.1 at 69 and 19.2 at 70.
    assert [row[:3] for row in table.rows] == [
        ("many-shot", "102 to 500", "35"),
        ("medium-shot", "20 to 98", "35"),
        ("few-shot", "5 to 19", "30"),
    ]
    assert sum(int(row[3].replace(",", "")) for row in table.rows) == 10_847  # of the published CIFAR-100-LT


def test_a_group_without_classes_is_shown_as_empty(tmp_path: Path) -> None:
    # 2,500 / 100^(j / 9): the rarest class has 25 images.
    table = groups_table(load_tables(write_run(tmp_path / "run", fake=TEN, arms=("none", "ldam_drw"))))
    assert table is not None
    assert [row[2] for row in table.rows] == ["7", "3", "0"]
    assert table.rows[2] == ("few-shot", "–", "0", "0", "0.0")


def test_thirds_say_that_they_are_the_pages_own(tmp_path: Path) -> None:
    tables = load_tables(write_run(tmp_path / "run", arms=("none", "focal")))
    table = groups_table(tables)
    assert table is not None
    assert "by which all 10 classes are many-shot. So this page divides them by frequency" in table.caption
    assert "not to be compared with published groups" in table.caption
    assert table.caption.endswith(
        "The run did not record the numbers of its retests; they follow from those of tuning."
    )
    assert table.rows == (("head", "5,000", "5", "25,000", "90.9"), ("tail", "500", "5", "2,500", "9.1"))


def test_the_table_of_recalls_has_each_arm_and_its_differences(tmp_path: Path) -> None:
    focal = [[0.85, 0.81, 0.40], [0.84, 0.79, 0.42], [0.83, 0.80, 0.44]]
    table = group_recalls_table(tail(tmp_path, {"none": NONE, "focal": focal}))
    assert table is not None
    assert table.columns == (
        "Arm", "Many-shot", "Difference", "Medium-shot", "Difference", "Few-shot", "Difference",
    )  # fmt: skip
    assert table.marks == ("best", "control")
    # 4.3027 * .02 / √3 = .0497
    assert table.rows[0][5:] == ("42.0 ± 5.0", "+32.0 (23.2–40.8)")
    assert table.rows[1] == ("none", "90.0 ± 0.0", "control", "80.0 ± 0.0", "control", "10.0 ± 0.0", "control")
    assert (
        "Differences to none in points, paired by seed; the intervals of all 3 hold together at 95 %." in table.caption
    )


def test_the_hardest_classes_of_a_long_tail_have_their_training_images(tmp_path: Path) -> None:
    table = hardest_table(tail(tmp_path, {"none": NONE, "focal": [[0.85, 0.81, 0.40]] * 3}))
    assert table is not None
    assert table.columns == ("Class", "Training images", "focal", "none")
    assert table.rows == (("c", "11", "40.0", "10.0"), ("b", "55", "81.0", "80.0"), ("a", "1,111", "85.0", "90.0"))
    assert table.caption.endswith("Training images: in a retest.")


def test_a_page_of_many_classes_lists_the_hardest_and_one_of_few_does_not(tmp_path: Path) -> None:
    many, few = (
        load_tables(write_run(tmp_path / name, fake=fake, arms=("none", "ldam_drw")))
        for name, fake in (("many", HUNDRED), ("few", TEN))
    )
    pages = [render_page(find_page("imbalance"), tables, []) for tables in (many, few)]
    assert ["The hardest classes" in html for html in pages] == [True, False]
    assert all("Frequent and rare classes" in html for html in pages)
    balanced = load_tables(write_run(tmp_path / "run", task="cifar100", fake=FAKES["cifar100"]))
    html = render_page(find_page("cifar100"), balanced, [])
    assert "The hardest classes" in html
    assert "Frequent and rare classes" not in html
