"""EuroSAT RGB (Helber et al. 2019): Parquet under the data root, else torchvision's layout or download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.data.assemble import assemble_dataset
from trainables.data.cache import listing_key, load_or_decode
from trainables.data.decoded import Decoded, make_decoded
from trainables.data.images import EncodedImage, decode_images
from trainables.data.known import require_whole
from trainables.data.parquet import HeldOut, read_parquet_folder
from trainables.data.shards import has_shards
from trainables.data.splits import thin
from trainables.data.types import DataError, ImageDataset

TEST_FRACTION = 0.2
TEST_SEED = 0


def eurosat_lies_under(data_root: Path) -> bool:
    """Whether EuroSAT is there in either layout; no file is read."""
    return has_shards(data_root / "eurosat") or (data_root / "eurosat" / "2750").is_dir()


def load_eurosat(data_root: Path, download: bool, cache_dir: Path | None = None) -> ImageDataset:
    """EuroSAT: 27,000 images of 64x64x3 in 10 classes.

    Looks for data_root/eurosat/*.parquet, then for data_root/eurosat/2750/<class>/*.jpg, which is downloaded if
    `download` is set. EuroSAT was published without a test split: where there is none, `hold_out` makes one of the
    same images in either layout. cache_dir: as in `load_or_decode`. Raises DataError.
    """
    folder = data_root / "eurosat"
    if has_shards(folder):
        decoded, layout = read_parquet_folder(folder, hold_out=hold_out, cache_dir=cache_dir), "Parquet"
    elif download or eurosat_lies_under(data_root):
        decoded, layout = _read_torchvision(data_root, download, cache_dir), "torchvision's layout"
    else:
        raise DataError(
            f"EuroSAT is not under the data root {data_root} (neither eurosat/*.parquet nor eurosat/2750): "
            "add --download to fetch it, or give its place with --data-root"
        )
    require_whole(decoded, "eurosat", str(folder))
    origin = f"EuroSAT, read from {folder} ({layout})"
    return assemble_dataset(decoded, name="eurosat", origin=origin, where=str(folder))


def _read_torchvision(data_root: Path, download: bool, cache_dir: Path | None) -> Decoded:
    from torchvision.datasets import EuroSAT  # slow to import, and not needed for Parquet

    try:
        listing = EuroSAT(str(data_root), download=download)
    except (OSError, RuntimeError) as error:
        raise DataError(f"EuroSAT could not be read from or fetched to {data_root}: {error}") from error
    folder = data_root / "eurosat"
    paths = [Path(path) for path, _ in listing.samples]
    labels = np.asarray(listing.targets, dtype=np.int64)

    def decode() -> Decoded:
        images = decode_images([EncodedImage(contents=path, where=str(path)) for path in paths], folder=folder)
        held_out = hold_out(labels, [path.name for path in paths], len(listing.classes))
        return make_decoded(
            train_images=images.pixels[held_out.train],
            train_labels=labels[held_out.train],
            test_images=images.pixels[held_out.test],
            test_labels=labels[held_out.test],
            class_names=listing.classes,
            odd_image=images.odd_image,
            remarks=[held_out.remark, *images.remarks],
        )

    return load_or_decode(listing_key(folder, "torchvision's EuroSAT", paths), decode, cache_dir)


def hold_out(labels: np.ndarray, file_names: Sequence[str | None], num_classes: int) -> HeldOut:
    """A fifth of each class (rounded), drawn with seed 0 from the sorted file names, or from the images in their order.

    labels: int64[N]; file_names: N of them, None where one is not known. Names that are missing, or twice in a class,
    say nothing about the order.
    """
    names = [(label, name) for label, name in zip(labels.tolist(), file_names, strict=True) if name is not None]
    is_named = len(set(names)) == len(labels)
    order = np.array(sorted(range(len(names)), key=names.__getitem__)) if is_named else np.arange(len(labels))
    train, test = holdout_split(labels[order], num_classes)
    drawn = (
        "the sorted file names"
        if is_named
        else "the rows in their order: not every image has a file name of its own, by which it would be the same fifth "
        "as of the folders of images"
    )
    return HeldOut(
        train=order[train],
        test=order[test],
        remark=f"There is no test split: a fifth of each class, {len(test):,} of {len(labels):,} images, is held out, "
        f"drawn with seed {TEST_SEED} from {drawn}.",
    )


def holdout_split(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted (train, test) indices; test is TEST_FRACTION of each class, rounded, drawn with TEST_SEED."""
    indices = np.arange(len(labels))
    counts = np.rint(np.bincount(labels, minlength=num_classes) * TEST_FRACTION).astype(np.int64)
    test = thin(labels, indices, counts, TEST_SEED)
    return np.setdiff1d(indices, test), test
