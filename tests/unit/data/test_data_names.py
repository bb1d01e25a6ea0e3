"""An image by its name: in Parquet files, in torchvision's layout, in folders by class; never a test image."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_files import encoded, picture
from PIL import Image

from trainables.data.eurosat import load_eurosat
from trainables.data.names import find_image
from trainables.data.types import DataError


def write_named(path: Path, names: list[str | None]) -> None:
    """An image a name; row i is of value i. Two rows a row group."""
    rows = [{"bytes": encoded(picture(row)), "path": name} for row, name in enumerate(names)]
    images = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": [0] * len(names)}), path, row_group_size=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_named(tmp_path / "eurosat" / "train-00000-of-00001.parquet", ["Forest_1.jpg", "a/River_2.jpg", "River_3.jpg"])
    write_named(tmp_path / "eurosat" / "test-00000-of-00001.parquet", ["Forest_4.jpg", "River_5.jpg"])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "row"), [("Forest_1.jpg", 0), ("a/River_2.jpg", 1), ("River_2.jpg", 1), ("River_3.jpg", 2)]
)
def test_a_name_or_the_end_of_one_finds_its_row_in_any_row_group(root: Path, name: str, row: int) -> None:
    assert find_image(name, dataset="eurosat", data_root=root).contents == encoded(picture(row))


def test_a_folder_of_parquet_files_is_searched_alike(root: Path) -> None:
    found = find_image("River_3.jpg", dataset=str(root / "eurosat"), data_root=Path("nowhere"))
    assert found.contents == encoded(picture(2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("River_5.jpg", "River_5.jpg is a test image of eurosat, and no test image is looked at; did you mean 'River_"),
        ("Forest_11.jpg", "eurosat has no image 'Forest_11.jpg'; did you mean 'Forest_1.jpg'?"),
        ("iver_3.jpg", "eurosat has no image 'iver_3.jpg'; did you mean 'River_3.jpg'?"),  # no end at a slash
    ],
)
def test_a_test_image_and_an_unknown_name_are_refused_with_the_nearest_training_image(
    root: Path, name: str, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        find_image(name, dataset="eurosat", data_root=root)
    assert str(caught.value).startswith(message)
    assert "River_5" not in str(caught.value).partition("did you mean")[2]


def test_the_end_of_several_names_is_refused(tmp_path: Path) -> None:
    write_named(tmp_path / "eurosat" / "train.parquet", ["a/1.jpg", "b/1.jpg"])
    write_named(tmp_path / "eurosat" / "test.parquet", ["c/1.jpg", None])
    with pytest.raises(DataError, match=r"^3 images of eurosat are called '1.jpg', such as a/1.jpg \(train\) and b/1"):
        find_image("1.jpg", dataset="eurosat", data_root=tmp_path)


def test_images_by_class_are_named_from_the_folder_on(tmp_path: Path) -> None:
    for split, name in (("train", "1.png"), ("val", "2.png"), ("test", "3.png")):
        (tmp_path / split / "cat").mkdir(parents=True)
        Image.fromarray(picture(7)).save(tmp_path / split / "cat" / name)
    found = [find_image(name, dataset=str(tmp_path), data_root=tmp_path) for name in ("train/cat/1.png", "2.png")]
    assert [image.contents for image in found] == [tmp_path / "train/cat/1.png", tmp_path / "val/cat/2.png"]
    with pytest.raises(DataError, match=r"test/cat/3.png is a test image"):
        find_image("3.png", dataset=str(tmp_path), data_root=tmp_path)


@pytest.mark.usefixtures("parts_of_known_data_sets")
def test_torchvisions_layout_refuses_exactly_the_images_that_loading_holds_out(tmp_path: Path) -> None:
    for number in range(10):
        for class_name in ("Forest", "River"):
            path = tmp_path / "eurosat" / "2750" / class_name / f"{class_name}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(10 * number + 100 * (class_name == "River"), 64)).save(path)
    held_out = {int(image[0, 0, 0]) for image in load_eurosat(tmp_path, download=False).test_images}
    assert len(held_out) == 4
    for number in range(10):
        for class_name in ("Forest", "River"):
            name = f"{class_name}_{number}.png"
            if 10 * number + 100 * (class_name == "River") in held_out:
                with pytest.raises(DataError, match="is a test image"):
                    find_image(name, dataset="eurosat", data_root=tmp_path)
            else:
                assert find_image(name, dataset="eurosat", data_root=tmp_path).where == f"{class_name}/{name}"


def test_embedded_data_have_no_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the images of digits have no names"):
        find_image("1.png", dataset="digits", data_root=tmp_path)
