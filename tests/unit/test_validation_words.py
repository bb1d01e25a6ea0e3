"""What is said of the validation images: where they came from, how classes weigh, how finely their score tells."""

import pytest

from study.records.validation import coarse_remark, images_a_class, split_sentence, step_sentence


def dataset(val_counts, **changed):
    return {"num_val": sum(val_counts), "num_classes": len(val_counts), "val_counts": val_counts, **changed}


def test_classes_of_one_size_are_called_balanced_and_others_weighted():
    assert split_sentence(dataset([500] * 10)) == (
        "5,000 validation images were cut from the training set, balanced over the classes."
    )
    assert split_sentence(dataset([240, 160])) == (
        "400 validation images were cut from the training set, 160 to 240 a class; in validation scores every class "
        "weighs the same."
    )
    assert split_sentence(dataset([3, 3], val_is_own=True)) == (
        "6 validation images came with the data set, balanced over the classes."
    )


def test_a_run_that_recorded_no_counts_was_balanced():
    old = {"num_val": 5000, "num_classes": 10}
    assert split_sentence(old).endswith("balanced over the classes.")
    assert images_a_class(old) == "500"
    assert step_sentence(old) is None
    assert coarse_remark(old) is None


@pytest.mark.parametrize(
    ("counts", "steps"), [([500] * 10, "0.02 points"), ([1, 900], "0.0556 to 50 points"), ([0, 4, 4], "12.5 points")]
)
def test_one_image_is_worth_a_share_of_its_class_which_is_a_share_of_the_score(counts, steps):
    assert step_sentence(dataset(counts)) == f"One validation image moves the validation score by {steps}."


def test_a_coarse_score_is_remarked_upon():
    """Four classes of one image each: 25 points. Ten of ten: 1 point. Ten of eleven: 0.9."""
    remark = coarse_remark(dataset([1] * 4))
    assert remark is not None
    assert remark.startswith("One validation image moves the validation score by 25 points, so that trials which")
    assert coarse_remark(dataset([10] * 10)) is not None
    assert coarse_remark(dataset([11] * 10)) is None
