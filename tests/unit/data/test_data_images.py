"""Images that are not what they seem: transparent, turned, of many sizes, large."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from dataset_files import picture, write_image, write_image_folder, write_parquet
from PIL import Image

from study.probes.inspection import chosen_image
from trainables.common import memory
from trainables.data import DataError, ImageDataset, load_dataset
from trainables.data import images as image_module
from trainables.data import memory as data_memory
from trainables.data.images import DRAFT_FACTOR, EncodedImage, decode_images
from trainables.data.resize import resize_dataset
from trainables.data.splits import tuning_data, whole


def load(folder: Path, image_size: int | None = None) -> ImageDataset:
    return load_dataset(str(folder), data_root=folder, download=False, image_size=image_size)


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def decoded(*blobs: bytes, image_size: int | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    encoded = [EncodedImage(contents=blob, where=f"image {number}") for number, blob in enumerate(blobs)]
    images = decode_images(encoded, image_size=image_size)
    return images.pixels, images.remarks


# transparency


def drawing(mode: str) -> Image.Image:
    """A black square of 8 pixels in the middle of 24 transparent ones, which are black as well."""
    alpha = np.zeros((24, 24), dtype=np.uint8)
    alpha[8:16, 8:16] = 255
    return Image.merge(mode, [*[Image.new("L", (24, 24))] * (len(mode) - 1), Image.fromarray(alpha)])


def with_transparent_colour(mode: str) -> Image.Image:
    """A square of brightness 90 on black, which a tRNS chunk is to call transparent."""
    image = Image.new(mode, (24, 24))
    image.paste((90,) * len(mode) if len(mode) > 1 else 90, (8, 8, 16, 16))
    return image


def palette_image() -> Image.Image:
    """The same, its colours numbers of a palette: 0 is the ground."""
    image = Image.new("P", (24, 24))
    image.putpalette([0, 0, 0, 90, 90, 90])
    image.paste(1, (8, 8, 16, 16))
    return image


TRANSPARENT = {
    "RGBA PNG": (saved(drawing("RGBA"), "PNG"), 0),
    "RGBA WebP": (saved(drawing("RGBA"), "WEBP", lossless=True), 0),
    "RGBA TIFF": (saved(drawing("RGBA"), "TIFF"), 0),
    "RGBA GIF": (saved(drawing("RGBA"), "GIF"), 0),
    "LA PNG": (saved(drawing("LA"), "PNG"), 0),
    "LA TIFF": (saved(drawing("LA"), "TIFF"), 0),
    "palette PNG": (saved(palette_image(), "PNG", transparency=0), 90),
    "tRNS L": (saved(with_transparent_colour("L"), "PNG", transparency=0), 90),
    "tRNS RGB": (saved(with_transparent_colour("RGB"), "PNG", transparency=(0, 0, 0)), 90),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_a_drawing_on_a_transparent_ground_lies_on_white(kind: str) -> None:
    blob, ink = TRANSPARENT[kind]
    pixels, remarks = decoded(blob)
    expected = np.full((24, 24), 255)
    expected[8:16, 8:16] = ink
    assert (pixels[0] == expected[:, :, None]).all()
    assert pixels.shape[3] == (1 if kind in {"LA PNG", "LA TIFF", "tRNS L"} else 3)
    assert remarks == ("1 of 1 images was laid on white because it is transparent (first: image 0).",)


def test_half_transparent_red_on_white_is_pink() -> None:
    pixels, _ = decoded(saved(Image.new("RGBA", (24, 24), (255, 0, 0, 128)), "PNG"))
    assert pixels[0, 0, 0].tolist() == [255, 127, 127]


def test_an_opaque_alpha_channel_changes_nothing_and_is_not_worth_saying() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    with_alpha = np.dstack([noise, np.full((24, 24), 255, dtype=np.uint8)])
    pixels, remarks = decoded(saved(Image.fromarray(with_alpha), "PNG"))
    assert (pixels[0] == noise).all()
    assert remarks == ()


# EXIF


def corner(width: int = 24, height: int = 24) -> np.ndarray:
    """Black, with a white rectangle of 4 x 12 pixels in the upper left corner: every orientation looks another way."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:4, :12] = 255
    return image


# EXIF 2.3, tag 274: what has been done to the upright picture when it is stored with that orientation.
STORED = {
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, 1),
    7: lambda image: np.rot90(image.transpose(1, 0, 2), 2),
    8: lambda image: np.rot90(image, -1),
}


def stored(orientation: int, file_format: str, upright: np.ndarray) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(file_format, {})
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    return saved(image, file_format, exif=exif, **options)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_turned_as_its_exif_orientation_says(orientation: int, file_format: str) -> None:
    pixels, remarks = decoded(stored(orientation, file_format, corner()))
    assert np.abs(pixels[0].astype(int) - corner()).max() <= 8  # JPEG
    if file_format != "TIFF":  # PIL has turned it
        assert remarks == ("1 of 1 images was turned upright as its EXIF orientation says (first: image 0).",)


def test_a_turned_photo_is_cropped_after_it_is_turned() -> None:
    """33 x 24 pixels stored lying on their side: the square of 24 leaves out 4 columns left and 5 right."""
    pixels, _ = decoded(stored(6, "PNG", corner(width=33)))
    assert (pixels[0] == corner(width=33)[:, 4:28]).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"nonsense", b"Exif\0\0MM"])
def test_damaged_exif_leaves_the_image_as_it_is(exif: bytes) -> None:
    pixels, remarks = decoded(saved(Image.fromarray(corner()), "PNG", exif=exif))
    assert (pixels[0] == corner()).all()
    assert remarks == ()


def test_images_of_parquet_files_and_folders_are_turned_and_the_remark_names_the_first(tmp_path: Path) -> None:
    turned, plain = stored(6, "PNG", corner()), saved(Image.fromarray(corner()), "PNG")
    write_parquet(tmp_path / "parquet" / "train.parquet", [0, 0, 1, 1], blobs=[plain, turned, turned, plain])
    write_parquet(tmp_path / "parquet" / "test.parquet", [0, 1], blobs=[plain, plain])
    for split in ("train", "test"):
        for class_name in ("cat", "dog"):
            for number in range(2):
                path = tmp_path / "folder" / split / class_name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(turned if (split, number) == ("train", 1) else plain)
    for folder, total, first in (("parquet", 6, "row 1 of train.parquet"), ("folder", 8, "train/cat/1.png")):
        for _ in range(2):  # decoded, then from the cache
            dataset = load(tmp_path / folder)
            assert (dataset.train_images == corner()).all()
            assert dataset.remarks[:1] == (
                f"2 of {total} images were turned upright as their EXIF orientation says (first: {first}).",
            )


def test_inspect_turns_a_file_and_lays_it_on_white(tmp_path: Path) -> None:
    data = tuning_data(load(write_image_folder(tmp_path / "pets", (24, 24, 24))), thinned=whole, subset_seed=0)
    (tmp_path / "turned.png").write_bytes(stored(6, "PNG", corner()))
    (tmp_path / "drawn.png").write_bytes(saved(drawing("RGBA"), "PNG"))
    assert (chosen_image(str(tmp_path / "turned.png"), data).pixels == corner()).all()
    assert chosen_image(str(tmp_path / "drawn.png"), data).pixels[0, 0].tolist() == [255, 255, 255]


# sizes


def test_images_get_the_median_size_whatever_the_first_one_has(tmp_path: Path) -> None:
    """Sides 20, 32, 32, 64 in either class of train and 20 in test: of ten, the fifth and sixth are 32."""
    dataset = load(write_image_folder(tmp_path / "one", sizes=(20, 32, 32, 64)))
    assert dataset.train_images.shape[1] == 32
    folder = write_image_folder(tmp_path / "two")
    write_image(folder / "train" / "cat" / "0.png", picture(7, 16))
    dataset = load(folder)
    assert dataset.train_images.shape == (6, 32, 32, 3)
    assert (dataset.train_images[0] == 7).all()
    assert dataset.remarks == (
        "The images are 16 to 32 pixels wide or high, whichever is less, and were all resized to the median, 32; "
        "--image-size chooses another size.",
    )


def test_what_is_cropped_away_is_said(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path)
    write_image(folder / "train" / "dog" / "1.png", np.zeros((32, 40, 3), dtype=np.uint8))
    assert load(folder).remarks[:1] == (
        "1 of 8 images was cropped at the centre because it is not square (first: train/dog/1.png).",
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 17, 33, 64])
def test_images_of_one_size_are_decoded_to_what_resizing_them_afterwards_gives(
    tmp_path: Path, size: int, channels: int
) -> None:
    """So a study that resized its folder before images were decoded to the size asked for resumes on the same data."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3)).astype(np.uint8)
    for number, image in enumerate(noise):
        split = "train" if number < 4 else "test"
        write_image(tmp_path / split / "ab"[number % 2] / f"{number}.png", image if channels == 3 else image[..., 0])
    own, asked = load(tmp_path), load(tmp_path, size)
    expected = resize_dataset(own, size)
    assert asked.fingerprint == expected.fingerprint
    assert asked.origin == expected.origin
    assert asked.train_images.shape[3] == channels
    assert load(tmp_path).fingerprint == own.fingerprint  # the cache keeps the two apart


def write_photos(folder: Path, size: int = 480) -> Path:
    """Photos of a grey ramp with a bright left half, as JPEG: two classes, two a split."""
    ramp = np.linspace(0, 100, size).astype(np.uint8)[:, None].repeat(size, axis=1)
    ramp[:, : size // 2] += 100
    for split in ("train", "test"):
        for class_name in ("cat", "dog"):
            for number in range(2):
                write_image(folder / split / class_name / f"{number}.jpg", np.dstack([ramp] * 3))
    return folder


def test_photos_are_decoded_to_the_size_asked_for_and_so_cached(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sizes = write_photos(tmp_path), []
    real = image_module._central_square

    def seen(image: Image.Image) -> Image.Image:
        sizes.append(image.size)
        return real(image)

    monkeypatch.setattr(image_module, "_central_square", seen)
    dataset = load(folder, 16)
    assert dataset.train_images.shape == (4, 16, 16, 3)
    assert dataset.origin.endswith("(images by class), resized to 16x16")
    # libjpeg halves as long as the shorter side stays at or above half of DRAFT_FACTOR times 16.
    assert set(sizes) == {(120, 120)}
    assert DRAFT_FACTOR // 2 * 16 <= 120
    assert 0 < sum(path.stat().st_size for path in place.glob("*/*.npy")) < 20_000
    whole_photos = resize_dataset(load(folder), 16)
    assert np.abs(dataset.train_images.astype(int) - whole_photos.train_images).max() <= 3
    assert load(folder, 16).origin == dataset.origin  # from the cache


def test_images_smaller_than_asked_for_are_decoded_as_they_are_and_enlarged(tmp_path: Path, place: Path) -> None:
    dataset = load(write_image_folder(tmp_path), 48)
    assert dataset.train_images.shape == (6, 48, 48, 3)
    assert dataset.origin.endswith("(images by class), resized to 48x48")
    (cached,) = place.glob("*/train_images.npy")
    assert np.load(cached).shape == (6, 32, 32, 3)
    assert json.loads(cached.with_name("meta.json").read_text())["own_size"] is None


def test_gigabytes_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 images of 32 x 32 x 3 bytes are 24,576 bytes, which here count as gigabytes."""
    monkeypatch.setattr(image_module, "WORTH_SAYING_BYTES", 24_576)
    monkeypatch.setattr(image_module, "bytes_text", lambda num_bytes: f"{num_bytes} bytes")
    folder = write_image_folder(tmp_path)
    assert load(folder).remarks == (
        "The 8 images of 32 x 32 pixels take 24576 bytes of memory, and of disk for the decoded copy; --image-size "
        "makes them smaller.",
    )
    assert load(folder, 16).remarks == ()


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_decoded(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_image_folder(tmp_path, sizes=(400, 400))
    monkeypatch.setattr(data_memory, "available_memory", lambda: 2_000_000)
    sentence = (
        "6 images of 400 x 400 pixels take 2.9 MB of memory, and 2.0 MB are free: make them smaller with --image-size"
    )
    with pytest.raises(DataError) as caught:
        load(folder)
    assert str(caught.value) == sentence
    assert not place.exists()
    small = load(folder, 32)
    with pytest.raises(DataError, match="6 images of 500 x 500 pixels"):
        resize_dataset(small, 500)


def test_a_cached_copy_that_does_not_fit_into_memory_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_image_folder(tmp_path)
    load(folder)
    monkeypatch.setattr(data_memory, "available_memory", lambda: 24_575)
    with pytest.raises(DataError, match="8 images of 32 x 32 pixels take"):
        load(folder)


def test_the_memory_of_a_container_is_its_limit_without_what_its_caches_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, usage, stat = (tmp_path / name for name in ("memory.max", "memory.current", "memory.stat"))
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:  4000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    monkeypatch.setattr(memory, "CGROUPS", ((str(limit), str(usage), str(stat)),))
    assert memory.available_memory() == 4_096_000
    limit.write_text("3000000\n")
    usage.write_text("2500000\n")
    stat.write_text("anon 1800000\ninactive_file 700000\n")
    assert memory.available_memory() == 1_200_000
    limit.write_text("max\n")
    assert memory.available_memory() == 4_096_000
    meminfo.unlink()
    assert memory.available_memory() is None
