"""Quantisation-aware training of a small net on digits, rounded so coarsely that it matters."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file

from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, DataError, TrainError
from resnet_deploy.core.specs import OutputKind, Precision, UnsignedRelu
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import open_images
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.quant.table import read_table, write_table
from resnet_deploy.train import loop
from resnet_deploy.train.loop import train
from resnet_deploy.train.options import QuantizedStart, TrainOptions
from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from resnet_deploy.train.step import StepSettings
from tests.train.jobs import Kill, run_job, run_killed, trained, write_digit_folder

RECIPE = override_recipe(load_recipe("qat"), {"steps": 12, "batch_size": 16, "learning_rate": 0.01})


class Files(NamedTuple):
    data: Path
    fp32: Path
    int8: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """resnet8 after 30 steps on 64 digits, and its INT8 form with scales ten times as coarse as calibrated."""
    folder = tmp_path_factory.mktemp("net")
    data = write_digit_folder(folder / "digits", train=64, val=30)
    recipe = override_recipe(load_recipe("fast-digits"), {"steps": 30, "batch_size": 16, "evaluate_every": 99})
    options = TrainOptions(
        out=folder / "net.safetensors", recipe=recipe, net="resnet8", data=str(data), num_threads=1, num_workers=1
    )
    checkpoint = train(options).file
    fp32 = export_onnx(ExportOptions(checkpoint=checkpoint, out=folder / "net.fp32.onnx")).file
    table_file = calibrate(CalibrateOptions(onnx=fp32, data=str(data), method="max", num_images=16, num_threads=1)).file
    table = read_table(table_file, network_sha256=read_manifest(fp32).sha256)
    coarse = {name: replace(s, amax=10 * s.amax, scale=10 * s.scale) for name, s in table.tensors.items()}
    write_table(replace(table, tensors=coarse), table_file)
    int8 = quantize_onnx(QuantizeOptions(onnx=fp32, table=table_file, float_precision=Precision.FP32)).file
    return Files(data, fp32, int8)


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    """Without the picture, which takes longer than the steps."""
    monkeypatch.setattr(loop, "draw_curves", lambda *_, **__: None)


def options(files: Files, out: Path, recipe=RECIPE, **changes) -> TrainOptions:
    start = {key: changes.pop(key) for key in list(changes) if key in QuantizedStart.__dataclass_fields__}
    return TrainOptions(
        **{
            "out": out,
            "recipe": recipe,
            "data": str(files.data),
            "quantized": QuantizedStart(**{"int8": files.int8} | start),
            "num_threads": 1,
            "num_workers": 1,
            "save_every": 3,
        }
        | changes
    )


def inputs(files: Files, split: str) -> tuple[np.ndarray, np.ndarray]:
    spec = read_manifest(files.fp32).preprocess
    batch = next(input_batches(open_images(str(files.data), split=split), spec, batch_size=64))
    return batch.images, batch.labels


def logits(file: Path, images: np.ndarray) -> np.ndarray:
    return open_session(read_onnx(file)).run(None, {"images": images})[0]


def cross_entropy(file: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """Of the delivered file, by ONNX Runtime."""
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits(file, images)), torch.from_numpy(labels)))


def constants(file: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in read_onnx(file).graph.initializer}


def test_training_lowers_the_loss_of_the_delivered_file(files, tmp_path):
    images, labels = inputs(files, "train")
    out = train(options(files, tmp_path / "a.int8.onnx")).file
    before, after = cross_entropy(files.int8, images, labels), cross_entropy(out, images, labels)
    # The images are those it learnt from, so 12 steps of descent have to show; a run that wrote back the weights it
    # began with gives `before` itself.
    assert after < 0.9 * before
    onnx.checker.check_model(str(out), full_check=True)


def test_the_file_keeps_its_placement_and_the_scales_of_its_activations(files, tmp_path):
    out = train(options(files, tmp_path / "a.int8.onnx")).file
    before, after = read_onnx(files.int8), read_onnx(out)
    assert list(before.graph.node) == list(after.graph.node)
    old, new = constants(files.int8), constants(out)
    assert {k: (v.dtype, v.shape) for k, v in old.items()} == {k: (v.dtype, v.shape) for k, v in new.items()}
    activation_scales = [name for name in old if name.endswith(".scale") and old[name].ndim == 0]
    assert len(activation_scales) > 9 and all(old[name] == new[name] for name in activation_scales)
    weights = [name for name in old if name.endswith(".int8")]
    assert len(weights) == 8 and all((old[name] != new[name]).any() for name in weights)


def test_learnt_scales_move_and_the_others_do_not_need_to(files, tmp_path):
    recipe = override_recipe(RECIPE, {"learning_rate": 0.05})
    out = train(options(files, tmp_path / "a.int8.onnx", recipe, learn_scales=True)).file
    old, new = constants(files.int8), constants(out)
    moved = [name for name in old if name.endswith(".scale") and old[name].ndim == 0 and old[name] != new[name]]
    assert moved and all(new[name] > 0 for name in moved)


def test_the_measured_top1_is_that_of_the_delivered_file(files, tmp_path):
    result = train(options(files, tmp_path / "a.int8.onnx"))
    images, labels = inputs(files, "val")
    right = int((logits(result.file, images).argmax(1) == labels).sum())
    # 30 images: the simulation and the file differ in ties alone (see tests/graph/test_trainable.py), here in none
    assert result.top1_percent == pytest.approx(100 * right / 30)
    assert result.num_classes == 10 and result.net == "resnet8"


def test_the_manifest_names_both_files_and_what_later_stages_read(files, tmp_path):
    out = train(options(files, tmp_path / "a.int8.onnx", learn_scales=True)).file
    manifest, before = read_manifest(out, kind="onnx"), read_manifest(files.int8)
    assert (manifest.stage, manifest.precision) == ("train", Precision.INT8)
    assert manifest.input_sha256("onnx") == read_manifest(files.fp32).sha256
    assert manifest.input_sha256("quantized") == before.sha256
    assert (manifest.net, manifest.preprocess, manifest.labels) == (before.net, before.preprocess, before.labels)
    assert manifest.details["num_pairs"] == before.details["num_pairs"] and manifest.details["weights"] == "trained"
    assert manifest.options["qat"] == {
        "float_twin": False, "learn_scales": True, "distill": False, "num_images": 0,
    }  # fmt: skip


def test_a_trained_file_can_be_trained_further_and_is_not_trained_again_when_up_to_date(files, tmp_path):
    first = train(options(files, tmp_path / "a.int8.onnx"))
    assert train(options(files, tmp_path / "a.int8.onnx")).skipped
    assert not train(options(files, tmp_path / "a.int8.onnx", learn_scales=True)).skipped
    again = train(options(files, tmp_path / "b.int8.onnx", int8=first.file))
    assert not again.skipped and again.file.read_bytes() != first.file.read_bytes()


def test_the_float_twin_is_the_same_training_without_rounding(files, tmp_path):
    images, labels = inputs(files, "train")
    out = train(options(files, tmp_path / "a.fp32.onnx", float_twin=True)).file
    assert read_manifest(out).precision is Precision.FP32
    assert list(read_onnx(out).graph.node) == list(read_onnx(files.fp32).graph.node)
    assert cross_entropy(out, images, labels) < cross_entropy(files.fp32, images, labels)


def noise_power(file: Path, files: Files, images: np.ndarray) -> float:
    answers = logits(files.fp32, images)
    return float(((logits(file, images) - answers) ** 2).mean() / (answers**2).mean())


@pytest.mark.parametrize("learn_scales", [False, True])
def test_distillation_brings_the_answers_closer_to_the_fp32_networks(learn_scales, files, tmp_path):
    images, _ = inputs(files, "train")
    recipe = override_recipe(RECIPE, {"learning_rate": 0.002})
    result = train(options(files, tmp_path / "a.int8.onnx", recipe, distill=True, learn_scales=learn_scales))
    assert noise_power(result.file, files, images) < 0.9 * noise_power(files.int8, files, images)
    agrees = logits(result.file, inputs(files, "val")[0]).argmax(1) == logits(
        files.fp32, inputs(files, "val")[0]
    ).argmax(1)
    assert result.top1_percent == pytest.approx(100 * agrees.mean())  # the labels here are the FP32 network's answers


def test_images_without_classes_can_be_distilled_on_and_a_fifth_is_held_out(files, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, file in enumerate(sorted((files.data / "train").glob("*/*.png"))):
        (flat / f"{index}.png").write_bytes(file.read_bytes())
    result = train(options(files._replace(data=flat), tmp_path / "a.onnx", distill=True, num_images=20))
    assert (result.num_train_images, result.num_val_images, result.num_classes) == (20, 12, 0)
    with pytest.raises(DataError, match="has no labels"):
        train(options(files._replace(data=flat), tmp_path / "b.onnx"))
    for file in list(flat.iterdir())[4:]:
        file.unlink()
    with pytest.raises(DataError, match="4 images, expected at least 5"):
        train(options(files._replace(data=flat), tmp_path / "b.onnx", distill=True))


def test_a_killed_run_ends_with_the_same_bytes(files, tmp_path):
    recipe = override_recipe(RECIPE, {"ema_decay": 0.9, "flip": True})
    changes = {"learn_scales": True, "distill": True}
    whole, killed = tmp_path / "whole.int8.onnx", tmp_path / "killed.int8.onnx"
    assert run_job(trained, options(files, whole, recipe, **changes))[0].code == 0
    ended = run_killed(options(files, killed, recipe, **changes), [Kill(at="step", count=2), Kill(at="write", count=2)])
    assert ended.code == 0 and ended.result.resumed_from_step > 0
    assert whole.read_bytes() == killed.read_bytes()


def test_the_comparison_above_notices_a_state_that_lost_its_momentum(files, tmp_path):
    """Planted fault."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    whole, killed = tmp_path / "whole.int8.onnx", tmp_path / "killed.int8.onnx"
    train(options(files, whole))
    assert run_job(trained, options(files, killed), Kill(at="step", count=5))[0].code == -signal.SIGKILL
    state = tmp_path / "killed.int8.state.safetensors"
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    tensors = {k: v * 0 if k.startswith("momentum/") else v for k, v in load_file(state).items()}
    save_file(tensors, state, metadata=metadata)
    assert train(options(files, killed)).resumed_from_step == 4
    assert whole.read_bytes() != killed.read_bytes()


def test_a_state_of_another_int8_file_is_not_resumed(files, tmp_path):
    out = tmp_path / "a.int8.onnx"
    assert run_job(trained, options(files, out), Kill(at="step", count=5))[0].code == -signal.SIGKILL
    with pytest.raises(ConfigError, match="another qat"):
        train(options(files, out, learn_scales=True))


def test_weights_that_run_away_end_the_run_and_the_last_finite_ones_are_kept_as_a_file(files, tmp_path):
    wild = override_recipe(RECIPE, {"learning_rate": 1e25, "clip_norm": 0.0, "warmup_fraction": 0.9})
    with pytest.raises(TrainError) as info:
        train(options(files, tmp_path / "a.int8.onnx", wild, save_every=1))
    assert "a.int8.last-good.onnx" in (info.value.remedy or "") and "--qat" in (info.value.remedy or "")
    good = tmp_path / "a.int8.last-good.onnx"
    manifest = read_manifest(good, kind="onnx")
    assert manifest.precision is Precision.INT8 and manifest.details["steps"] >= 1
    assert all(np.isfinite(value).all() for value in constants(good).values())
    assert not (tmp_path / "a.int8.onnx").exists()


def test_other_files_than_an_int8_file_and_its_fp32_network_are_refused(files, tmp_path):
    with pytest.raises(ConfigError, match="is fp32, quantisation-aware training starts from an int8 file"):
        train(options(files, tmp_path / "a.onnx", int8=files.fp32))
    model = read_onnx(files.fp32)
    model.producer_name = "another"
    other = tmp_path / "other.fp32.onnx"
    write_onnx(model, other)
    parent = read_manifest(files.fp32)
    write_manifest(other, kind="onnx", stage="export", parent=parent, precision=Precision.FP32)
    with pytest.raises(ArtifactMismatchError, match=r"was not made from .*other\.fp32\.onnx"):
        train(options(files, tmp_path / "a.onnx", fp32=other))
    lonely = tmp_path / "lonely.int8.onnx"
    for file in (files.int8, Path(f"{files.int8}.json")):
        plain = file.read_bytes().replace(b'"file": "net.int8.onnx"', b'"file": "lonely.int8.onnx"')
        (tmp_path / file.name.replace("net", "lonely")).write_bytes(plain)
    with pytest.raises(ArtifactError, match=r"net\.fp32\.onnx, from which .* is not there"):
        train(options(files, tmp_path / "a.onnx", int8=lonely))
    assert train(options(files, tmp_path / "a.onnx", int8=lonely, fp32=files.fp32)).steps == 12


def test_a_file_with_unsigned_relu_outputs_is_refused(files, tmp_path):
    shifted = quantize_onnx(
        QuantizeOptions(
            onnx=files.fp32,
            float_precision=Precision.FP32,
            unsigned_relu=UnsignedRelu.FIRST,
            out=tmp_path / "net.int8.onnx",
        )
    ).file
    with pytest.raises(ConfigError, match="has unsigned ReLU outputs") as caught:
        train(options(files, tmp_path / "a.onnx", int8=shifted, fp32=files.fp32))
    assert "--unsigned-relu off" in caught.value.remedy


def test_a_file_that_gives_probabilities_is_refused(files, tmp_path):
    softmax = tmp_path / "p.int8.onnx"
    softmax.write_bytes(files.int8.read_bytes())
    parent = read_manifest(files.int8)
    net = replace(parent.net, output=OutputKind.SOFTMAX)
    inputs = {"onnx": files.fp32}
    write_manifest(
        softmax, kind="onnx", stage="quantize", net=net, inputs=inputs, parent=parent, precision=Precision.INT8
    )
    with pytest.raises(ArtifactError, match=r"p\.int8\.onnx gives softmax, training starts from logits"):
        train(options(files, tmp_path / "a.onnx", int8=softmax, fp32=files.fp32))


def test_images_of_other_classes_are_refused(files, tmp_path):
    with pytest.raises(DataError, match=r"'9' in the network, None in the images"):
        five = tmp_path / "nine"
        for file in files.data.glob("*/*/*.png"):
            if file.parent.name != "9":
                target = five / file.relative_to(files.data)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
        train(options(files._replace(data=five), tmp_path / "a.onnx"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": Path("a.safetensors")}, r"network a\.safetensors must end in \.onnx"),
        ({"how": StepSettings(amp="bf16")}, "amp is 'bf16'"),
        ({"how": StepSettings(compile=True)}, "compile is for nets of the catalogue"),
        ({"how": StepSettings(sync_bn=True)}, "sync_bn has no effect"),
        ({"weights": Path("w.safetensors")}, "not from a checkpoint"),
        ({"recipe": override_recipe(RECIPE, {"per_pixel_mean": True})}, "per_pixel_mean"),
        ({"recipe": override_recipe(RECIPE, {"label_smoothing": 0.1}), "distill": True}, "label_smoothing is 0.1"),
        ({"num_images": 1}, "num_images is 1"),
        ({"float_twin": True, "learn_scales": True}, "no scales to learn"),
        ({"float_twin": True, "distill": True}, "its own answers"),
    ],
)
def test_options_without_effect_are_refused(changes, message, files):
    with pytest.raises(ConfigError, match=message):
        options(files, **{"out": Path("a.onnx")} | changes)


def test_an_output_over_its_own_input_is_refused(files):
    with pytest.raises(ConfigError, match="would overwrite the network it starts from"):
        options(files, files.int8)


def test_metrics_are_written_beside_the_file(files, tmp_path):
    result = train(options(files, tmp_path / "a.int8.onnx"))
    assert result.metrics_file == tmp_path / "a.int8.metrics.jsonl"
    assert [json.loads(line)["step"] for line in result.metrics_file.read_text().splitlines()] == [4, 8, 12]


@pytest.mark.slow
def test_two_processes_train_one_file(files, tmp_path):
    out = tmp_path / "a.int8.onnx"
    ended = run_job(trained, options(files, out, distributed=True), size=2)
    assert [e.code for e in ended] == [0, 0], ended
    assert ended[0].result.num_processes == 2
    images, labels = inputs(files, "train")
    assert cross_entropy(out, images, labels) < cross_entropy(files.int8, images, labels)
