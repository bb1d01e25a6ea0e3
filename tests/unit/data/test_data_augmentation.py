"""Batches against a naive reference, image by image; views by hand; the same on CPU and GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import RandAugment
from torchvision.transforms.v2 import functional as tv

from trainables.data.augmentation import (
    AUGMENTATIONS,
    VIEWS,
    apply_views,
    augmenter,
    channel_stats,
    gather_batch,
    normalise,
    random_crop,
)
from trainables.hparams import ClassifierHparams, Hparams
from trainables.parts.contracts import check_augmentation

KNOBS = {"cutout_length": 8, "randaugment_num_ops": 2, "randaugment_magnitude": 9}
SIZES = [(32, 32, 3), (16, 16, 1), (64, 64, 3)]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def random_images(num_images: int, shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (num_images, *shape), dtype=torch.uint8, generator=generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def naive_crop(image: np.ndarray, top: int, left: int) -> np.ndarray:
    """Pad with size // 8 zeros, cut at (top, left)."""
    height, width, _ = image.shape
    pad = height // 8
    out = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            y, x = row + top - pad, column + left - pad
            if 0 <= y < height and 0 <= x < width:
                out[row, column] = image[y, x]
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SIZES)
def test_crop_and_flip_are_what_a_loop_over_images_gives(shape: tuple[int, int, int], device: str) -> None:
    images = random_images(9, shape)
    indices = torch.tensor([8, 0, 3, 3, 5, 1])
    batch = gather_batch(images.to(device), indices, augment=augmenter("crop_flip"), generator=seeded(4))
    draws = seeded(4)
    num_offsets = 2 * (shape[0] // 8) + 1
    top = torch.randint(0, num_offsets, (6,), generator=draws)
    left = torch.randint(0, num_offsets, (6,), generator=draws)
    flip = torch.randint(0, 2, (6,), generator=draws)
    assert 0 < flip.sum() < 6
    for position, index in enumerate(indices):
        expected = naive_crop(images[index].numpy(), int(top[position]), int(left[position]))
        if flip[position]:
            expected = expected[:, ::-1]
        np.testing.assert_array_equal(batch[position].cpu().numpy(), expected)
    assert batch.dtype == torch.uint8


def test_crops_reach_every_offset_evenly_and_flips_are_half() -> None:
    image = torch.zeros(1, 32, 32, 1, dtype=torch.uint8)
    image[0, 16, 8] = 1
    batch = gather_batch(image, torch.zeros(8100, dtype=torch.long), augment=augmenter("crop_flip"), generator=seeded())
    positions = batch[..., 0].flatten(1).argmax(1)
    rows, columns = positions // 32, positions % 32
    assert rows.bincount().nonzero().flatten().tolist() == list(range(12, 21))
    # Columns 8 ± 4, and mirrored 23 ± 4.
    assert columns.bincount().nonzero().flatten().tolist() == [*range(4, 13), *range(19, 28)]
    assert (rows.bincount()[12:] / 8100 - 1 / 9).abs().max() < 0.02
    assert abs((columns > 15).float().mean() - 0.5) < 0.03


def test_none_gathers_and_crop_does_not_flip() -> None:
    images = random_images(5, (32, 32, 3))
    indices = torch.tensor([4, 4, 0])
    assert (gather_batch(images, indices, augment=augmenter("none"), generator=seeded()) == images[indices]).all()
    ramp = torch.arange(32, dtype=torch.uint8).expand(1, 32, 32)[..., None] + 1
    cropped = gather_batch(ramp, torch.zeros(64, dtype=torch.long), augment=augmenter("crop"), generator=seeded())
    inner = cropped[:, 4:28, 4:28, 0].int()
    assert (inner.diff(dim=2) > 0).all()


@pytest.mark.parametrize("augmentation", sorted(AUGMENTATIONS))
def test_batches_depend_on_the_generator_alone_and_leave_the_images_as_they_are(augmentation: str) -> None:
    images = random_images(6, (32, 32, 3))
    before, indices = images.clone(), torch.arange(6)
    views = torch.arange(6, dtype=torch.uint8) % 5

    def batch(seed: int) -> Tensor:
        return gather_batch(
            images,
            indices,
            augment=augmenter(augmentation, KNOBS),
            generator=seeded(seed),
            views=views,
            photometric_strength=0.4,
        )

    assert (batch(1) == batch(1)).all()
    assert (batch(1) != batch(2)).any()
    assert (images == before).all()


def test_an_unknown_augmentation_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"augmentation must be one of .* got 'crop_flp'; did you mean 'crop_flip'"):
        Hparams(augmentation="crop_flp")


@pytest.mark.parametrize(
    ("augmentation", "changed", "message"),
    [
        ("crop_cutout", {"cutout_length": -1}, "cutout_length must be at least 0, got -1"),
        ("crop_randaugment", {"randaugment_magnitude": 31}, "randaugment_magnitude must be from 0 to 30, got 31"),
    ],
)
def test_a_knob_that_is_out_of_range_is_refused(
    augmentation: str, changed: dict[str, int | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        augmenter(augmentation, KNOBS | changed)


@pytest.mark.parametrize(
    ("augmentation", "missing"),
    [(name, knob) for name in ("crop_cutout", "crop_randaugment") for knob in AUGMENTATIONS[name].needs],
)
def test_a_knob_that_is_missing_is_refused(augmentation: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"augmentation '{augmentation}' needs {missing}, got None"):
        ClassifierHparams(augmentation=augmentation, **KNOBS | {missing: None})


def test_the_knobs_of_an_augmentation_are_those_of_its_steps() -> None:
    assert AUGMENTATIONS["crop_cutout"].needs == ("cutout_length",)
    assert AUGMENTATIONS["crop_flip_randaugment"].needs == ("randaugment_num_ops", "randaugment_magnitude")
    assert AUGMENTATIONS["crop_flip"].needs == ()


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("augmentation", sorted(AUGMENTATIONS))
def test_every_augmentation_keeps_type_shape_and_order_in_memory(
    augmentation: str, shape: tuple[int, int, int]
) -> None:
    check_augmentation(AUGMENTATIONS[augmentation])
    batch = augmenter(augmentation, KNOBS)(random_images(9, shape), seeded())
    assert batch.shape == (9, *shape)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous()


def naive_box(image: np.ndarray, left: float, top: float, width: float, height: float) -> np.ndarray:
    """The box (in pixels) enlarged to the whole image, bilinearly, the border pixels repeated outwards."""
    size = len(image)
    out = np.empty(image.shape)
    for row in range(size):
        for column in range(size):
            x = min(max(left + (column + 0.5) * width / size - 0.5, 0), size - 1)
            y = min(max(top + (row + 0.5) * height / size - 0.5, 0), size - 1)
            x0, y0 = min(int(x), size - 2), min(int(y), size - 2)
            corners = image[y0 : y0 + 2, x0 : x0 + 2].astype(float)
            across = corners[:, 0] * (1 - (x - x0)) + corners[:, 1] * (x - x0)
            out[row, column] = across[0] * (1 - (y - y0)) + across[1] * (y - y0)
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(32, 32, 3), (16, 16, 1)])
def test_resized_crops_are_what_a_loop_over_pixels_gives(shape: tuple[int, int, int], device: str) -> None:
    images = random_images(5, shape)
    seen = augmenter("resized_crop")(images.to(device), seeded(6)).cpu().numpy()
    size = shape[0]
    for image, result, (area, aspect, x, y) in zip(
        images.numpy(), seen, torch.rand(4, 5, generator=seeded(6)).T.double().numpy(), strict=True
    ):
        share = 0.25 + 0.75 * area
        ratio = np.exp(np.log(4 / 3) * (2 * aspect - 1))
        width, height = (min(np.sqrt(share * r), 1.0) * size for r in (ratio, 1 / ratio))
        expected = naive_box(image, x * (size - width), y * (size - height), width, height)
        assert np.abs(result - expected).max() <= 0.51  # rounded


def test_resized_crops_cover_a_quarter_to_the_whole_of_the_image() -> None:
    """Channel 0 tells the column, channel 1 the row: 4 grey values a pixel, so a box's sides can be read off."""
    ramp = 4 * torch.arange(64, dtype=torch.uint8)
    image = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)], dim=2)
    boxes = augmenter("resized_crop")(image.repeat(4000, 1, 1, 1), seeded()).float()
    # Of the inner pixels, so that the repeated border does not count.
    width = (boxes[:, 32, 48, 0] - boxes[:, 32, 16, 0]) / (4 * 32)
    height = (boxes[:, 48, 32, 1] - boxes[:, 16, 32, 1]) / (4 * 32)
    area, aspect = width * height, width / height
    assert area.min() > 0.24
    assert area.max() <= 1.01
    # Uniform in 0.25-1: a third is below 0.5. Cutting sides to the image's takes area only from boxes above 0.75.
    assert abs((area < 0.5).float().mean() - 1 / 3) < 0.03
    assert aspect.max() < 1.36
    assert aspect.min() > 0.73
    assert abs((aspect > 1).float().mean() - 0.5) < 0.03
    assert (boxes[:, 32, 32, 0].std() > 10) & (boxes[:, 32, 32, 1].std() > 10)


@pytest.mark.parametrize("length", [0, 1, 5, 8, 40])
def test_cutout_hides_a_square_around_a_pixel_clipped_at_the_borders(length: int) -> None:
    images = random_images(6, (32, 32, 3))
    draws = seeded(3)
    seen = AUGMENTATIONS["crop_cutout"].steps[1](images, seeded(3), cutout_length=length)
    rows = torch.randint(0, 32, (6, 1), generator=draws).flatten().tolist()
    columns = torch.randint(0, 32, (6, 1), generator=draws).flatten().tolist()
    for image, result, row, column in zip(images.numpy(), seen.numpy(), rows, columns, strict=True):
        expected = image.copy()
        for y in range(row - length // 2, row - length // 2 + length):
            for x in range(column - length // 2, column - length // 2 + length):
                if 0 <= y < 32 and 0 <= x < 32:
                    expected[y, x] = np.rint(image.reshape(-1, 3).mean(axis=0))
        np.testing.assert_array_equal(result, expected)


def test_randaugment_is_torchvisions_with_a_policy_for_every_eight_images() -> None:
    images = random_images(20, (32, 32, 3))
    options = {"randaugment_num_ops": 2, "randaugment_magnitude": 14}
    seen = AUGMENTATIONS["crop_randaugment"].steps[1](images, seeded(8), **options)
    transform = RandAugment(num_ops=2, magnitude=14)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=seeded(8))))
        for start, stop in ((0, 8), (8, 16), (16, 20)):
            expected = transform(images[start:stop].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            assert (seen[start:stop] == expected).all()


def test_policies_differ_between_groups_and_within_none() -> None:
    images = random_images(1, (32, 32, 3)).repeat(64, 1, 1, 1)
    augment = augmenter("crop_randaugment", {"randaugment_num_ops": 2, "randaugment_magnitude": 14})
    steps = AUGMENTATIONS["crop_randaugment"].steps
    groups = steps[1](images, seeded(1), randaugment_num_ops=2, randaugment_magnitude=14).split(8)
    assert all((group == group[0]).all() for group in groups)
    assert len({group[0].numpy().tobytes() for group in groups}) > 4
    assert (augment(images, seeded(1)) != images).any()


def test_randaugment_neither_reads_nor_moves_the_global_generator() -> None:
    augment = augmenter("crop_randaugment", {"randaugment_num_ops": 2, "randaugment_magnitude": 9})
    images = random_images(16, (32, 32, 3))
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.rand(3)
        torch.manual_seed(seed)
        results.append(augment(images, seeded(5)))
        assert (torch.rand(3) == expected).all()
    assert (results[0] == results[1]).all()


def test_views_without_strength_are_refused() -> None:
    images, indices = random_images(2, (32, 32, 3)), torch.arange(2)
    views = torch.zeros(2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="photometric_strength"):
        gather_batch(images, indices, augment=augmenter("none"), generator=seeded(), views=views)


def test_views_by_hand() -> None:
    assert VIEWS == ("as_is", "horizontal_flip", "vertical_flip", "brightness", "contrast")
    image = torch.tensor([[10, 20], [30, 100]], dtype=torch.uint8)[None, :, :, None]  # mean 40
    uniform = torch.rand(5, generator=seeded(3))
    brightness, contrast = (1 + 0.5 * (2 * uniform - 1))[3:].tolist()
    views = torch.arange(5, dtype=torch.uint8)
    seen = apply_views(image.expand(5, 2, 2, 1), views, 0.5, seeded(3))[..., 0].tolist()
    assert seen[0] == [[10, 20], [30, 100]]
    assert seen[1] == [[20, 10], [100, 30]]
    assert seen[2] == [[30, 100], [10, 20]]
    assert seen[3] == [
        [round(10 * brightness), round(20 * brightness)],
        [round(30 * brightness), round(100 * brightness)],
    ]
    blended = [round(40 + contrast * (value - 40)) for value in (10, 20, 30, 100)]
    assert seen[4] == [blended[:2], blended[2:]]


def test_brightness_and_contrast_are_torchvisions_to_a_rounding() -> None:
    images = random_images(40, (32, 32, 3))
    views = torch.tensor([3, 4] * 20, dtype=torch.uint8)
    factors = 1 + 0.6 * (2 * torch.rand(40, generator=seeded(5)) - 1)
    seen = apply_views(images, views, torch.tensor(0.6), seeded(5)).int()
    adjust = {3: tv.adjust_brightness, 4: tv.adjust_contrast}
    for image, view, factor, result in zip(images, views, factors, seen, strict=True):
        expected = adjust[int(view)](image.permute(2, 0, 1), float(factor)).permute(1, 2, 0).int()
        assert (result - expected).abs().max() <= 1
    assert len(factors.unique()) == 40
    assert factors.min() < 0.5
    assert factors.max() > 1.5


def test_views_come_before_the_crop() -> None:
    images = random_images(1, (32, 32, 3))
    options = {"augment": augmenter("crop"), "photometric_strength": 0.9}
    views = torch.tensor([3], dtype=torch.uint8)
    generator = seeded(2)
    viewed = apply_views(images, views, 0.9, generator)
    expected = random_crop(viewed, generator)
    assert (
        gather_batch(images, torch.zeros(1, dtype=torch.long), generator=seeded(2), views=views, **options) == expected
    ).all()


@pytest.mark.parametrize("shape", SIZES)
def test_normalise_subtracts_the_mean_and_divides_by_the_deviation(shape: tuple[int, int, int]) -> None:
    batch = random_images(4, shape)
    mean, std = torch.tensor([0.5, 0.4, 0.3])[: shape[2]], torch.tensor([0.25, 0.2, 0.1])[: shape[2]]
    normalised = normalise(batch, mean, std)
    expected = tv.normalize(batch.permute(0, 3, 1, 2).float() / 255, mean.tolist(), std.tolist())
    torch.testing.assert_close(normalised, expected, rtol=0, atol=1e-5)
    assert normalised.shape == (4, shape[2], *shape[:2])
    assert normalised.is_contiguous(memory_format=torch.channels_last)


def test_normalise_takes_an_augmented_batch() -> None:
    images = random_images(3, (32, 32, 3))
    batch = gather_batch(images, torch.arange(3), augment=augmenter("crop_flip"), generator=seeded())
    assert normalise(batch, torch.zeros(3), torch.ones(3)).max() <= 1


def test_channel_stats_by_hand() -> None:
    images = torch.zeros(3, 2, 2, 3, dtype=torch.uint8)
    images[0, ..., 0] = 255  # red is 1 in one of the two images that count
    images[:, ..., 1] = 51  # green is 0.2 throughout
    images[1] = 77  # left out
    mean, std = channel_stats(images, torch.tensor([0, 2]))
    assert mean.tolist() == pytest.approx([0.5, 0.2, 0.0])
    assert std.tolist() == pytest.approx([0.5, 1 / 255, 1 / 255])


@pytest.mark.parametrize("shape", SIZES)
def test_channel_stats_are_numpys(shape: tuple[int, int, int]) -> None:
    images = random_images(150, shape)
    indices = torch.arange(0, 150, 2)
    mean, std = channel_stats(images, indices)
    pixels = images[indices].numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean.numpy(), pixels.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std.numpy(), pixels.std(axis=(0, 1, 2)), rtol=1e-6)
    assert mean.dtype == std.dtype == torch.float32
