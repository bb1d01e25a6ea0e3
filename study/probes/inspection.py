"""Inspection of a completed trial: rebuilt from ledger and newest checkpoint, drawn on validation images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from study.core.errors import StudyError, last_line, nearest
from study.core.ledger import Book, Ledger, TrialRecord
from study.core.run_dir import checkpoints_of
from study.core.spec import StudySpec
from study.core.stage import Stage
from study.engine.requirements import require_same_data
from study.page.figures.base import png
from study.probes import inspection_figures as figures
from study.probes.trials import recorded_setup
from study.tasks.resolve import read_spec
from study.tasks.study import load_data
from trainables.common.files import write_durably, write_json
from trainables.common.paths import user_path
from trainables.data.images import EncodedImage, decode_image
from trainables.data.names import find_image
from trainables.data.types import DataError, TuningData
from trainables.probes.inspection import (
    feature_maps,
    first_filters,
    has_convolutions,
    layer_outputs,
    map_layers,
    penultimate_features,
    telling_layers,
)
from trainables.training.checkpoints import read_newest_checkpoint
from trainables.training.learner import Learner
from trainables.training.metrics import confusion_matrix

FOLDER, ALL_LAYERS = "inspect", "all"


@dataclass(frozen=True, kw_only=True)
class LoadedTrial:
    """A trial with its learner. recorded: the row of epochs.parquet for the epoch of the learner's weights.

    notices: as in ImageDataset. dataset: the name or path of its data, data_root: below which it lies.
    """

    trial: TrialRecord
    stage: Stage
    learner: Learner
    data: TuningData
    recorded: Mapping[str, Any]
    notices: tuple[str, ...]
    dataset: str
    data_root: Path

    @property
    def title(self) -> str:
        return f"{self.trial.trial_id}, epoch {self.learner.epoch}"

    def differing(self, validated: Mapping[str, float]) -> list[str]:
        """The metric and accuracies that differ from the recorded ones. The loss may differ in its last digits."""
        shares = [name for name in validated if name == self.stage.task.metric or name.endswith("accuracy")]
        return [name for name in shares if validated[name] != self.recorded[name]]


@dataclass(frozen=True, kw_only=True)
class ChosenImage:
    """The image to inspect. pixels: uint8[H, W, C]. name: as a person calls it.

    index: among the validation images, or None; file: where it was given as a file; label: its class, None if unknown.
    """

    pixels: np.ndarray
    name: str
    index: int | None = None
    file: Path | None = None
    label: int | None = None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The result: files written, lines and warnings for the console, and the content of inspect.json."""

    files: tuple[Path, ...]
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    facts: Mapping[str, Any]


def inspect_trial(
    run_dir: Path,
    trial_id: str,
    *,
    layers: Sequence[str] | None,
    image: str,
    num_tsne: int,
    tsne_layer: str | None = None,
) -> Inspection:
    """Inspect a trial and write RUN/inspect/TRIAL/. Uses no test image. Raises StudyError or DataError.

    layers: None for the first convolution and the last convolutional stage, ("all",) for every one; image: see
    `chosen_image`. tsne_layer: whose outputs t-SNE is of; None for what the last layer is given.
    """
    if num_tsne < figures.MIN_TSNE_IMAGES:
        raise StudyError(f"--num-tsne must be at least {figures.MIN_TSNE_IMAGES}, got {num_tsne}")
    loaded = load_trial(run_dir, trial_id)
    learner, data, task = loaded.learner, loaded.data, loaded.stage.task
    find = partial(find_image, dataset=loaded.dataset, data_root=loaded.data_root)
    chosen = chosen_image(image, data, find)
    outputs, grid = _outputs(loaded, chosen, layers)
    validated = {f"val_{name}": value for name, value in task.validate(learner, data).items()}
    differing = loaded.differing(validated)
    judged = _judged(learner, data, chosen) if task.is_classifier else {}
    pictures: dict[str, bytes] = {}
    left_out: list[str] = []
    if outputs:
        maps = figures.feature_maps_data(
            title=loaded.title, image=chosen.pixels, notes=_notes(chosen, judged, grid), grid=grid, outputs=outputs
        )
        pictures["feature_maps"] = png(figures.draw_feature_maps, maps)
    else:
        left_out.append("feature maps: no layer was named, and the model has no convolution")
    filter_facts = None
    if has_convolutions(learner.model):
        filter_layer, weights = first_filters(learner.model)
        filters = figures.filters_data(
            title=loaded.title, layer=filter_layer, weights=weights, has_grey_images=_has_grey_images(data)
        )
        pictures["filters"] = png(figures.draw_filters, filters)
        filter_facts = {"layer": filter_layer, "shape": list(weights.shape)}
    else:
        left_out.append("filters: the model has no convolution")
    embedding = None
    if task.is_classifier:
        pictures["confusion"] = png(figures.draw_confusion, _confusion(loaded, validated))
        embedding = _embedding(loaded, num_tsne, tsne_layer)
        if embedding is None:
            left_out.append(f"tsne: fewer than {figures.MIN_TSNE_IMAGES} validation images")
        else:
            pictures["tsne"] = png(figures.draw_embedding, embedding)
    else:
        left_out.append("confusion and tsne: a puzzle net tells no classes apart")
    facts = {
        **_facts(loaded, validated),
        "equals_recorded": not differing,
        "image": {
            "name": chosen.name,
            "index": chosen.index,
            "file": None if chosen.file is None else str(chosen.file),
            **judged,
        },
        "layers": {layer: list(output.shape[1:]) for layer, output in outputs.items()},
        "filters": filter_facts,
        "tsne": embedding
        and {
            "num_images": len(embedding.points),
            "perplexity": embedding.perplexity,
            "layer": tsne_layer,
        },
        "left_out": left_out,
        "files": [f"{name}.png" for name in pictures],
    }
    return Inspection(
        files=_write(run_dir / FOLDER / trial_id, pictures, facts),
        lines=(
            f"{loaded.title}: {task.metric} {validated[task.metric]:.4f} on {len(data.val_indices)} validation images"
            f"{'' if differing else ', as recorded'}; no test image was used",
            *(f"left out: {reason}" for reason in left_out),
            *(f"note: {notice}" for notice in loaded.notices),
        ),
        warnings=tuple(
            f"{name} is {validated[name]!r} and was recorded as {loaded.recorded[name]!r}: with the same weights and "
            "images, other hardware or another version rounds otherwise"
            for name in differing
        ),
        facts=facts,
    )


def _facts(loaded: LoadedTrial, validated: Mapping[str, float]) -> dict[str, Any]:
    return {
        "trial": loaded.trial.trial_id,
        "stage": loaded.stage.name,
        "arm": loaded.trial.arm,
        "seed": loaded.trial.seed,
        "epoch": loaded.learner.epoch,
        "weights_sha256": loaded.learner.weights_sha256(),
        "split": "validation",
        "num_validation_images": len(loaded.data.val_indices),
        "validation": dict(validated),
        "recorded": {name: loaded.recorded[name] for name in validated},
    }


def load_trial(run_dir: Path, trial_id: str) -> LoadedTrial:
    """Load the trial's learner with the weights of its newest intact checkpoint.

    Raises StudyError if run_dir is not a run directory, if the trial is unknown, did not complete or has no intact
    checkpoint, or if data or weights are not those that were recorded; DataError if the data cannot be loaded.
    """
    study, spec = read_spec(run_dir)
    with Ledger(run_dir) as ledger:
        book = ledger.book
    trial = _completed(book, run_dir, trial_id)
    folder = checkpoints_of(spec) / trial_id
    state = read_newest_checkpoint(folder)
    if state is None:
        raise StudyError(f"the checkpoint of {trial_id} is gone: {folder} holds none that is intact")
    dataset, data, found = load_data(study, spec)
    require_same_data(run_dir, data, book)
    stage = next(stage for stage in study.stages(spec, data) if trial.arm in stage.arms)
    learner = _learner(trial, stage, spec, data, state)
    recorded = next((row for row in trial.epochs if row["epoch"] == learner.epoch), None)
    if recorded is None or recorded.get("weights_sha256") not in {None, learner.weights_sha256()}:
        raise StudyError(f"{folder} does not hold the weights that the ledger has of {trial_id}")
    return LoadedTrial(
        trial=trial,
        stage=stage,
        learner=learner,
        data=data,
        recorded=recorded,
        notices=dataset.notices,
        dataset=found,
        data_root=spec.data_root,
    )


def _completed(book: Book, run_dir: Path, trial_id: str) -> TrialRecord:
    completed = [trial.trial_id for trial in book.trials.values() if trial.status == "completed"]
    if trial_id not in book.trials:
        hint = nearest(trial_id, completed) or nearest(trial_id, book.trials)
        if not hint:
            hint = f"; completed are {', '.join(completed[:5])}{', ...' if completed[5:] else ''}" if completed else ""
        raise StudyError(f"{run_dir} has no trial {trial_id!r}{hint}")
    trial = book.trials[trial_id]
    if trial.status != "completed":
        state = "is not finished" if trial.status == "running" else f"was {trial.status}"
        of_arm = [other for other in completed if book.trials[other].arm == trial.arm]
        hint = f"; of its arm {', '.join(of_arm)}" if of_arm else ""
        state = state.replace("was failed", "failed")
        raise StudyError(f"{trial_id} {state}, and only a completed trial can be looked into{hint}")
    return trial


def _learner(trial: TrialRecord, stage: Stage, spec: StudySpec, data: TuningData, state: Mapping[str, Any]) -> Learner:
    setup = recorded_setup(spec, stage, arm=trial.arm, seed=trial.seed)
    try:
        learner = stage.task.learner(trial.hparams, data, setup)
        learner.load_state_dict(dict(state["learner"]))
    except (ValueError, RuntimeError, KeyError) as error:  # load_state_dict raises them too
        raise StudyError(f"{trial.trial_id} cannot be built again: {last_line(error)}") from None
    return learner


def _no_names(text: str) -> EncodedImage:
    raise DataError("the images have no names")


def chosen_image(text: str, data: TuningData, find: Callable[[str], EncodedImage] = _no_names) -> ChosenImage:
    """The validation image of that index, a file, cropped and resized like them, or an image of the data by its name.

    find: from a name to the image, or DataError, as `find_image`. Raises StudyError or DataError.
    """
    try:
        index = int(text)
    except ValueError:
        try:
            path = user_path(text)
        except ValueError as error:
            raise StudyError(f"--image {error}") from None
        if path.is_file():
            encoded = EncodedImage(contents=path, where=str(path))
            return ChosenImage(pixels=_read_like(encoded, data), name=path.name, file=path)
        return _named_image(text, data, find)
    if not 0 <= index < len(data.val_indices):
        raise StudyError(
            f"--image must be from 0 to {len(data.val_indices) - 1}, a validation image, or a file, got {index}"
        )
    return _of_the_data(int(data.val_indices[index]), data, "")


def _named_image(text: str, data: TuningData, find: Callable[[str], EncodedImage]) -> ChosenImage:
    try:
        encoded = find(text)
    except DataError as error:
        raise StudyError(f"--image: there is no file {text!r}, and {error}") from None
    pixels = _read_like(encoded, data)
    alike = np.flatnonzero((data.images[:, 0] == pixels[0]).all(axis=(1, 2)))  # of its first row: all would be large
    same = next((int(place) for place in alike if np.array_equal(data.images[place], pixels)), None)
    # Images that were resized on loading may not be found by their pixels.
    return ChosenImage(pixels=pixels, name=encoded.where) if same is None else _of_the_data(same, data, encoded.where)


def _of_the_data(place: int, data: TuningData, own_name: str) -> ChosenImage:
    """The image at a place of data.images. own_name: in the data set, or ''."""
    among = np.flatnonzero(data.val_indices == place)
    index = int(among[0]) if len(among) else None
    role = f"validation image {index}"
    if index is None:
        role = "a training image" if place in data.train_indices else "neither trained nor validated on"
    return ChosenImage(
        pixels=data.images[place],
        name=f"{own_name} ({role})" if own_name else role,
        index=index,
        label=int(data.labels[place]),
    )


def _read_like(encoded: EncodedImage, data: TuningData) -> np.ndarray:
    """Decode an image to uint8[H, W, C], of the data's size and channels."""
    pixels = decode_image(encoded, data.image_size)
    return pixels if data.images.shape[3] == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def _outputs(
    loaded: LoadedTrial, chosen: ChosenImage, layers: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], int]:
    """(the layers' feature maps, tiles per side). Raises StudyError for a layer that the model does not have."""
    learner = loaded.learner
    images = torch.from_numpy(chosen.pixels.copy())[None].to(learner.device)
    inputs, grid = loaded.stage.task.model_inputs(learner, images)
    if layers == (ALL_LAYERS,):
        layers = map_layers(learner.model, inputs)
    try:
        telling = telling_layers(learner.model) if has_convolutions(learner.model) else ()
        maps = feature_maps(learner.model, inputs, layers or telling)
    except ValueError as error:
        known = map_layers(learner.model, inputs)
        unknown = next(layer for layer in layers or () if layer not in known)
        raise StudyError(f"--layers: {error}{nearest(unknown, known)}") from None
    return {layer: output.numpy() for layer, output in maps.items()}, grid


def _judged(learner: Learner, data: TuningData, chosen: ChosenImage) -> dict[str, Any]:
    logits = learner.predict(torch.from_numpy(chosen.pixels.copy())[None], torch.zeros(1, dtype=torch.int64))
    probabilities = logits.double().softmax(dim=1)[0].cpu()
    predicted = int(probabilities.argmax())
    true = None if chosen.label is None else data.class_names[chosen.label]
    return {
        "true_class": true,
        "predicted_class": data.class_names[predicted],
        "probability": float(probabilities[predicted]),
    }


def _notes(chosen: ChosenImage, seen: Mapping[str, Any], grid: int) -> list[str]:
    notes = [f"Image: {chosen.name}."]
    if grid > 1:
        notes.append(f"Cut into {grid} × {grid} tiles, each gone through by itself; their maps are put together.")
    if seen:
        true = "" if seen["true_class"] is None else f"True class: {seen['true_class']}. "
        notes.append(f"{true}Predicted: {seen['predicted_class']} ({100 * seen['probability']:.0f} %).")
    return notes


def _has_grey_images(data: TuningData) -> bool:
    images = data.images[data.val_indices]
    return bool((images == images[..., :1]).all())


def _validation_indices(data: TuningData) -> Tensor:
    return torch.from_numpy(data.val_indices.copy())


def _confusion(loaded: LoadedTrial, validated: Mapping[str, float]) -> figures.Confusion:
    learner, data = loaded.learner, loaded.data
    indices = _validation_indices(data)
    logits = learner.predict(learner.batches.images, indices)
    counts = confusion_matrix(logits, learner.batches.labels[indices.to(learner.device)], data.num_classes)
    title = f"{loaded.title}: {len(indices):,} validation images, accuracy {100 * validated['val_accuracy']:.1f} %"
    return figures.confusion_data(title=title, counts=counts.cpu().numpy(), class_names=data.class_names)


def _embedding(loaded: LoadedTrial, num_images: int, layer: str | None) -> figures.Embedding | None:
    """t-SNE of at most num_images validation images, drawn at random but always the same; None if too few.

    layer: whose outputs; None for what the last layer is given. Raises StudyError for one that does not exist.
    """
    learner, data = loaded.learner, loaded.data
    drawn = np.random.default_rng(figures.SEED).permutation(data.val_indices)[:num_images]
    if len(drawn) < figures.MIN_TSNE_IMAGES:
        return None
    images = learner.batches.images[torch.from_numpy(drawn.copy()).to(learner.device)]
    inputs = learner.batches.normalised(images)
    if layer is None:
        try:
            features = penultimate_features(learner.model, inputs)
        except ValueError as error:
            raise StudyError(f"--tsne-layer: {error}") from None
        what = f"the {features.shape[1]} numbers that its last layer is given"
    else:
        try:
            features = layer_outputs(learner.model, inputs, layer)
        except ValueError as error:
            known = [name for name, _ in learner.model.named_modules()]
            raise StudyError(f"--tsne-layer: {error}{nearest(layer, known)}") from None
        what = f"the {features.shape[1]} outputs of {layer}"
    return figures.embedding_data(
        title=f"{loaded.title}: t-SNE of {what}, {len(drawn):,} validation images",
        features=features.numpy(),
        labels=data.labels[drawn],
        class_names=data.class_names,
        superclass_of=data.superclass_of,
        superclass_names=data.superclass_names,
    )


def _write(folder: Path, pictures: Mapping[str, bytes], facts: Mapping[str, Any]) -> tuple[Path, ...]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.png"):  # of an earlier inspection
            if old.stem not in pictures:
                old.unlink()
        paths = [folder / f"{name}.png" for name in pictures]
        for path, content in zip(paths, pictures.values(), strict=True):
            write_durably(path, content)
        write_json(folder / "inspect.json", dict(facts))
    except OSError as error:
        raise StudyError(f"{folder} cannot be written to: {error.strerror}") from None
    return (*paths, folder / "inspect.json")
