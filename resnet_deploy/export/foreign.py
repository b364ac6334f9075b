"""Weights trained elsewhere become a checkpoint with a manifest: mapped, checked, and compared where it can be."""

from __future__ import annotations

__all__ = ["CIFAR10_LABELS", "ImportOptions", "ImportResult", "import_weights", "read_labels"]

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from resnet_deploy.core.artifacts import find_manifest, is_up_to_date, read_manifest
from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.batches import count_batches, input_batches
from resnet_deploy.data.source import ImageSource, open_images, stratified_sample
from resnet_deploy.export.caffe_layout import check_strides, is_caffe_layout, map_caffe
from resnet_deploy.export.caffe_model import read_mean_image
from resnet_deploy.export.checksums import Checksum, check_file, sha256_of_tensors
from resnet_deploy.export.import_options import NOT_RECORDED, ImportOptions, read_labels
from resnet_deploy.export.import_report import BnRecomputation, ImportResult, write_import_report
from resnet_deploy.export.key_rules import IgnoredKey, MappedState, map_keys
from resnet_deploy.export.recognise import Recognition, classifier_rows, recognise, refuse_other_stems
from resnet_deploy.export.self_check import SelfCheck, run_self_check
from resnet_deploy.export.state_dict import StoredWeights, read_weights
from resnet_deploy.nets.bn_statistics import recompute_bn_statistics
from resnet_deploy.nets.catalogue import NetSpec, build_net, find_net
from resnet_deploy.nets.checkpoint import check_finite, check_state_fits, save_checkpoint
from resnet_deploy.nets.cost import net_cost

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""CIFAR-10's classes in label order, which is alphabetical."""

_PATHS = ("file", "source")


def import_weights(options: ImportOptions, *, progress: Progress = NO_PROGRESS) -> ImportResult:
    """Read foreign weights, prove that they fit a known net, compare where asked, and write a checkpoint.

    Nothing in the file is executed. Labels and preprocessing are what the options say: a state dict does not
    hold them, so `evaluate` on labelled images is the proof that they are right. Where a self-check fails,
    nothing but the report is written.

    Raises:
        ArtifactError: Not a state dict, truncated, needs code to load, or holds NaN.
        ArtifactMismatchError: Not the file its digest says, not the net that was named, or none that is known.
        ConfigError: Class count or labels do not fit the classifier, or the file was made by this package.
        DataError: The check's files or the images for batch-norm statistics can not be used.
    """
    images = _bn_images(options)
    checksum = check_file(options.file, sha256=options.sha256) if options.file.is_file() else Checksum(sha256="")
    inputs = _inputs(options, images)
    recorded = {k: v for k, v in to_plain(options).items() if k not in NOT_RECORDED}
    if (done := _done_before(options, inputs, recorded)) is not None:
        return _reported(dataclasses.replace(done, checksum=checksum, skipped=True), options)
    if options.file.is_file() and find_manifest(options.file) is not None:
        raise ConfigError(
            f"{options.file} has a manifest already, so its net, labels and preprocessing are known",
            remedy="use the file as it is: import is for weights from elsewhere",
        )
    progress.start(f"importing {options.file.name}", 3)
    net, result = _mapped_net(options, checksum, progress)
    if not result.passed:
        return _reported(dataclasses.replace(result, written=False), options)
    result = dataclasses.replace(result, bn_recomputed=_recompute_bn(net, result.preprocess, images, options, progress))
    save_checkpoint(
        options.out,
        net,
        spec=find_net(result.net),
        preprocess=result.preprocess,
        labels=result.labels,
        stage="import",
        inputs=inputs,
        options=recorded,
        details={k: v for k, v in to_plain(result).items() if k not in _PATHS},
    )
    return _reported(result, options)


def _mapped_net(options: ImportOptions, checksum: Checksum, progress: Progress) -> tuple[nn.Module, ImportResult]:
    """The net with the file's weights, and what is to be said of it, the self-check's outcome included."""
    source = str(options.file)
    stored = read_weights(options.file, entry=options.entry)
    state = _mapped(stored, source=source)
    check_finite(state.tensors, source=source)
    progress.advance(note="recognising")
    num_classes = _num_classes(state, options)
    found = _chosen_net(state, stored, num_classes, options)
    labels = _labels(options.labels, found.spec, num_classes)
    net, filled = _filled_net(found.spec, state, num_classes, source=source)
    preprocess, mean_from = _preprocess(found.spec.preprocess, options)
    progress.advance(note=found.spec.name)
    check = _checked(net, preprocess, state, options)
    progress.advance()
    return net, ImportResult(
        file=options.out,
        source=options.file,
        source_sha256=checksum.sha256,
        checksum=checksum,
        tensors_sha256=sha256_of_tensors(state.tensors),
        layout=state.layout,
        entry=stored.entry,
        net=found.spec.name,
        num_classes=num_classes,
        recognised=options.net is None,
        alternatives=found.alternatives,
        num_tensors=len(state.tensors),
        num_parameters=sum(state.tensors[name].numel() for name, _ in net.named_parameters()),
        catalogue_parameters=net_cost(found.spec, num_classes=num_classes).parameters,
        renamed=state.rule_counts,
        keys=state.keys,
        ignored=(*state.ignored, *(IgnoredKey(source=k, reason=v) for k, v in stored.beside.items())),
        filled=filled,
        preprocess=preprocess,
        mean_from=mean_from,
        labels=labels,
        check=check,
    )


def _done_before(options: ImportOptions, inputs: Mapping, recorded: Mapping) -> ImportResult | None:
    """The result of an earlier run with the same files and options, from its manifest."""
    if options.force or not is_up_to_date(options.out, stage="import", inputs=inputs, options=recorded):
        return None
    try:
        details = {**read_manifest(options.out).details, "file": str(options.out), "source": str(options.file)}
        return from_plain(ImportResult, details, source=str(options.out))
    except ConfigError:  # written before the report had today's fields
        return None


def _inputs(options: ImportOptions, images: ImageSource | None) -> dict[str, Path | tuple[str, str]]:
    named = {
        "weights": options.file,
        "mean_image": options.mean_image,
        "check_input": options.check_input,
        "check_output": options.check_output,
    }
    inputs: dict[str, Path | tuple[str, str]] = {role: path for role, path in named.items() if path is not None}
    if images is not None:
        inputs["bn_images"] = (images.description, images.fingerprint())
    return inputs


def _mapped(stored: StoredWeights, *, source: str) -> MappedState:
    if stored.caffe_layers or is_caffe_layout(stored.tensors):
        return map_caffe(stored.tensors, layers=stored.caffe_layers, source=source)
    state = map_keys(stored.tensors, source=source)
    refuse_other_stems(state.tensors, source=source)
    return state


def _num_classes(state: MappedState, options: ImportOptions) -> int:
    rows = classifier_rows(state.tensors, source=str(options.file))
    if options.num_classes is not None and options.num_classes != rows:
        raise ConfigError(
            f"{options.num_classes} classes were asked for, the classifier in {options.file} has {rows}",
            remedy="leave --classes away",
        )
    return rows


def _chosen_net(state: MappedState, stored: StoredWeights, num_classes: int, options: ImportOptions) -> Recognition:
    source = str(options.file)
    if options.net is None:
        found = recognise(state, num_classes, source=source)
    else:
        found = Recognition(spec=find_net(options.net), alternatives=())
    check_strides(found.spec, stored.caffe_layers, source=source)
    return found


def _filled_net(
    spec: NetSpec, state: MappedState, num_classes: int, *, source: str
) -> tuple[nn.Module, tuple[str, ...]]:
    """The net with the file's weights, and the keys that the file lacks: only counters, which old files do not have."""
    with torch.device("meta"):  # initial weights would only be thrown away
        net = build_net(spec, num_classes=num_classes)
    check_state_fits(net, state.tensors, net_name=spec.name, source=source)
    filled = tuple(key for key in net.state_dict() if key not in state.tensors)
    counters = {key: torch.zeros((), dtype=torch.int64) for key in filled}
    net = net.to_empty(device="cpu")
    net.load_state_dict({**state.tensors, **counters})  # copies: tensors of a file may share memory
    return net.eval(), filled


def _checked(net: nn.Module, preprocess: Preprocess, state: MappedState, options: ImportOptions) -> SelfCheck | None:
    if options.check_input is None or options.check_output is None:
        return None
    return run_self_check(
        net,
        preprocess,
        input=options.check_input,
        output=options.check_output,
        caffe=state.layout == "caffe",
        tolerance=options.check_tolerance,
    )


def _bn_images(options: ImportOptions) -> ImageSource | None:
    if options.recompute_bn is None:
        return None
    source = open_images(options.recompute_bn, split=options.recompute_split)
    return stratified_sample(source, options.recompute_images, seed=0)


def _recompute_bn(
    net: nn.Module, preprocess: Preprocess, images: ImageSource | None, options: ImportOptions, progress: Progress
) -> BnRecomputation | None:
    if images is None:
        return None
    size = min(options.recompute_batch, len(images))
    progress.start(f"batch-norm statistics of {images.description}", count_batches(images, size))

    def batches():
        for batch in input_batches(images, preprocess, batch_size=size):
            yield torch.from_numpy(batch.images)
            progress.advance()

    count = recompute_bn_statistics(net, batches())
    return BnRecomputation(data=images.description, num_images=count, batch_size=size)


def _labels(given: tuple[str, ...] | None, spec: NetSpec, num_classes: int) -> tuple[str, ...]:
    if given is None and spec.family == "cifar" and num_classes == len(CIFAR10_LABELS):
        return CIFAR10_LABELS
    if given is None:
        return tuple(f"class_{index:04d}" for index in range(num_classes))
    if len(given) != num_classes:
        raise ConfigError(
            f"{len(given)} labels were given, the classifier has {num_classes} classes",
            remedy="give one label for each class, in label order",
        )
    return given


def _preprocess(usual: Preprocess, options: ImportOptions) -> tuple[Preprocess, str]:
    mean, mean_from = options.mean, "given with --mean"
    if options.mean_image is not None:
        image = read_mean_image(options.mean_image)[::-1].astype(np.float64)  # R G B
        channel = image.mean(axis=(1, 2))
        mean = tuple(float(value) / 255 for value in channel)
        largest = float(np.abs(image - channel[:, None, None]).max())
        mean_from = (
            f"mean per channel of {options.mean_image.name} {list(image.shape)}, "
            f"R G B {', '.join(f'{v:.4f}' for v in channel)} of 255; its pixels differ from that by up to {largest:.2f}"
        )
    elif mean is None:
        mean, mean_from = usual.mean, "the net's usual one"
    if options.std is not None:
        mean_from += "; std given with --std"
    return dataclasses.replace(usual, mean=mean, std=options.std or usual.std), mean_from


def _reported(result: ImportResult, options: ImportOptions) -> ImportResult:
    if options.report is not None:
        write_import_report(options.report, result)
    return result
