"""Data: the table of sources, the cache of decoded images, splits and thinning, augmentation on tensors."""

from trainables.data.sources import SOURCES, ResolvedDataset, load_dataset, resolve_dataset
from trainables.data.types import DataError, ImageDataset, TestData, TuningData

__all__ = [
    "SOURCES",
    "DataError",
    "ImageDataset",
    "ResolvedDataset",
    "TestData",
    "TuningData",
    "load_dataset",
    "resolve_dataset",
]
