from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.export.foreign import CIFAR10_LABELS, ImportOptions, import_weights, read_labels
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import fresh_net, load_checkpoint

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return dict(fresh_net(find_net("resnet8")).state_dict())


def saved(folder: Path, value: object, name: str = "w.pth") -> Path:
    torch.save(value, folder / name)
    return folder / name


def imported(file: Path, **changes):
    return import_weights(ImportOptions(file=file, out=file.parent / "out" / "n.safetensors", **changes))


def as_idelbayev(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The key names of github.com/akamaster/pytorch_resnet_cifar10, which lacks num_batches_tracked as well."""
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    return {"module." + k.replace("fc.", "linear."): v for k, v in kept.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "best_prec1": 91.7},
        lambda s: {"model": s, "epoch": 3},
        lambda s: {"model_state_dict": s, "optimizer": {"lr": 0.1}},
        lambda s: {"net": s, "acc": 90},
        lambda s: {"model": {"state_dict": s, "epoch": 3}},
        lambda s: {"_orig_mod." + k: v for k, v in s.items()},
        as_idelbayev,
        lambda s: {"state_dict": as_idelbayev(s)},
    ],
)
def test_weights_come_through_every_wrapping_unchanged(wrap, state, tmp_path):
    result = imported(saved(tmp_path, wrap(state)))
    checkpoint = load_checkpoint(result.file)
    assert (result.net, result.recognised, result.labels) == ("resnet8", True, CIFAR10_LABELS)
    for key, value in checkpoint.net.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, state[key]), key


def test_renamed_keys_are_counted(state, tmp_path):
    result = imported(saved(tmp_path, as_idelbayev(state)))
    floats = sum(not key.endswith("num_batches_tracked") for key in state)
    assert result.renamed == {"module.* -> *": floats, "linear.* -> fc.*": 2}


def test_safetensors_are_read_whatever_their_name(state, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.safetensors").read_bytes())
    assert imported(tmp_path / "w.safetensors").net == imported(tmp_path / "w.bin").net == "resnet8"


@pytest.mark.parametrize("name", ["resnet18", "resnet44"])  # every other net: test_foreign_recognition.py
def test_the_net_is_recognised(name, tmp_path):
    spec = find_net(name)
    result = imported(saved(tmp_path, build_net(spec, num_classes=7).state_dict()))
    assert (result.net, result.num_classes) == (name, 7)
    assert result.labels[0] == "class_0000"
    assert read_manifest(result.file).preprocess == spec.preprocess


def test_half_precision_weights_become_float32(state, tmp_path):
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    net = load_checkpoint(imported(saved(tmp_path, half)).file).net
    assert net.conv1.weight.dtype == torch.float32
    assert torch.equal(net.conv1.weight, state["conv1.weight"].half().float())


def test_record_of_the_source(state, tmp_path):
    file = saved(tmp_path, state)
    result = imported(file, license="BSD-2-Clause, from a colleague", mean=(0.5, 0.4, 0.3), std=(1.0, 1.0, 1.0))
    manifest = read_manifest(result.file, kind="checkpoint")
    assert manifest.input_sha256("weights") == hashlib.sha256(file.read_bytes()).hexdigest() == result.source_sha256
    assert manifest.options["license"] == "BSD-2-Clause, from a colleague"
    assert manifest.preprocess is not None and manifest.preprocess.mean == (0.5, 0.4, 0.3)
    assert imported(file, license="BSD-2-Clause, from a colleague", mean=(0.5, 0.4, 0.3), std=(1.0, 1.0, 1.0)).skipped
    assert not imported(file, license="other").skipped


class _RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_code_in_a_file_is_refused_and_not_run(state, tmp_path):
    file = saved(tmp_path, {"state_dict": state, "extra": _RunsCode(tmp_path / "ran")})
    with pytest.raises(ArtifactError, match=r"holds more than tensors \((posix|nt)\.mkdir\)"):
        imported(file)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(_RunsCode(tmp_path / "ran"), protocol=2))
    with pytest.raises(ArtifactError, match=r"plain\.pkl"):
        imported(tmp_path / "plain.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_whole_module_is_refused_by_name(tmp_path):
    with pytest.raises(ArtifactError, match=r"torch\.nn\.modules\.linear\.Linear.*") as info:
        imported(saved(tmp_path, torch.nn.Linear(2, 2)))
    assert "state_dict()" in (info.value.remedy or "")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_gives_one_message(share, kind, state, tmp_path):
    file = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=kind == "zip")
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ArtifactError, match=f"{int(share * len(data))} bytes"):
        imported(file)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "holds a list"),
        ({}, r"keys \(none\)"),
        ({"weights": 3, "epoch": 1}, "'weights', 'epoch'"),
        (torch.zeros(3), "holds a Tensor"),
        ({"a.weight": torch.zeros(2, 2)}, "'fc.weight'.*there is none.*a.weight"),
        ({"fc.weight": torch.zeros(3)}, r"shape \[3\]"),
    ],
)
def test_what_is_no_residual_net_is_refused(value, message, tmp_path):
    with pytest.raises(ArtifactError, match=message):
        imported(saved(tmp_path, value))


def test_wrong_nets_are_refused_with_the_first_difference(state, tmp_path):
    file = saved(tmp_path, state)
    with pytest.raises(ArtifactMismatchError, match=r"not a resnet20: key 'layer1\.1\.conv1\.weight' is missing"):
        imported(file, net="resnet20")
    state["layer2.0.conv1.weight"] = torch.zeros(32, 16, 5, 5)
    with pytest.raises(ArtifactMismatchError, match=r"none of the known nets: resnet8: key 'layer2\.0\.conv1\.weight'"):
        imported(saved(tmp_path, state))
    state["layer2.0.conv1.weight"] = torch.zeros(32, 16, 3, 3)
    state["layer1.0.se.weight"] = torch.zeros(1)
    with pytest.raises(ArtifactMismatchError, match=r"1 further keys, first 'layer1\.0\.se\.weight'"):
        imported(saved(tmp_path, state))


def test_nan_is_refused_by_tensor_name(state, tmp_path):
    state["layer3.0.conv2.weight"].view(-1)[5] = float("nan")
    with pytest.raises(ArtifactError, match=r"'layer3\.0\.conv2\.weight' holds 1 NaN"):
        imported(saved(tmp_path, state))


def test_labels_and_class_count_must_fit(state, tmp_path):
    file = saved(tmp_path, state)
    with pytest.raises(ConfigError, match="3 labels were given, the classifier has 10"):
        imported(file, labels=("a", "b", "c"))
    with pytest.raises(ConfigError, match="12 classes were asked for.*has 10"):
        imported(file, num_classes=12)
    with pytest.raises(ConfigError, match="label 'a' occurs 2 times"):
        imported(file, labels=("a", "b", "a"))
    names = tuple("abcdefghij")
    assert load_checkpoint(imported(file, labels=names).file).manifest.labels == names


def test_reading_labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("tench\n goldfish \ngreat white shark\n\n", encoding="utf-8")
    assert read_labels(path) == ("tench", "goldfish", "great white shark")
    for data, message in ((b"a\n\nb\n", "line 2 is blank"), (b"", "file is empty"), (b"\xff\xfe", "not UTF-8")):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=message):
            read_labels(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_labels(tmp_path / "none.txt")


def test_a_checkpoint_of_ours_is_not_imported_again(state, tmp_path):
    first = imported(saved(tmp_path, state))
    with pytest.raises(ConfigError, match="has a manifest already"):
        import_weights(ImportOptions(file=first.file, out=tmp_path / "second.safetensors"))


def test_out_must_not_be_the_source(tmp_path):
    with pytest.raises(ConfigError, match="would overwrite"):
        ImportOptions(file=tmp_path / "w.safetensors", out=tmp_path / "w.safetensors")


def test_the_command(state, tmp_path):
    file, out = saved(tmp_path, as_idelbayev(state), "mine.th"), tmp_path / "n.safetensors"
    result = CliRunner().invoke(app, ["import", str(file), "--net", "resnet8", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert (shown["net"], shown["recognised"], shown["num_parameters"]) == ("resnet8", False, 75_290)
    result = CliRunner().invoke(app, ["import", str(tmp_path / "none.pth")])
    assert result.exit_code == 2
    assert "no such file" in result.stderr


def command(*arguments):
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


@pytest.fixture
def pair(state, tmp_path):
    """A network input and the output of the weights' own net."""
    net = build_net(find_net("resnet8"))
    net.load_state_dict(state)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        np.savez(tmp_path / "pair.npz", input=x.numpy(), output=net.eval()(x).numpy())
    return tmp_path / "pair.npz"


def test_a_passed_self_check_is_on_record(state, pair, tmp_path):
    file, out = saved(tmp_path, as_idelbayev(state)), tmp_path / "n.safetensors"
    arguments = (file, "--check-input", pair, "--check-output", pair, "--out", out)
    result = command(*arguments, "--report", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert "passed: 2 rows of logits" in result.stdout and "plain8" in result.stdout
    manifest = read_manifest(out)
    assert manifest.details["check"]["passed"] and manifest.details["check"]["tolerance"] < 1e-4
    assert {record.role for record in manifest.inputs} == {"weights", "check_input", "check_output"}
    report = json.loads((tmp_path / "r.json").read_text())
    assert {"source": "module.linear.bias", "key": "fc.bias", "rules": ["module.* -> *", "linear.* -> fc.*"]} in report[
        "keys"
    ]
    again = command(*arguments, "--json")
    assert json.loads(again.stdout) == {**report, "skipped": True}


def test_a_failed_self_check_writes_nothing_but_the_report(state, pair, tmp_path):
    state["layer2.0.conv1.weight"] = state["layer2.0.conv1.weight"].flip(0)
    file, out = saved(tmp_path, state), tmp_path / "out" / "n.safetensors"
    arguments = (file, "--check-input", pair, "--check-output", pair, "--out", out)
    result = command(*arguments, "--report", tmp_path / "r.json")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout and "no checkpoint was written" in result.stderr
    assert not out.parent.exists()
    assert json.loads((tmp_path / "r.json").read_text())["written"] is False
    assert json.loads(command(*arguments, "--json").stdout)["check"]["passed"] is False


def test_batch_norm_statistics_are_recomputed_on_request(state, tmp_path):
    pytest.importorskip("sklearn", reason="needs scikit-learn's digits")
    file, out = saved(tmp_path, state), tmp_path / "n.safetensors"
    arguments = (file, "--recompute-bn", "digits", "--images", "32", "--batch", "16", "--out", out)
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    assert "of 32 images" in result.stdout
    net = load_checkpoint(out).net
    assert torch.equal(net.conv1.weight, state["conv1.weight"])
    images = np.concatenate(
        [
            b.images
            for b in input_batches(
                stratified_sample(open_images("digits", split="train"), 32, seed=0),
                find_net("resnet8").preprocess,
                batch_size=16,
            )
        ]
    )
    y = torch.nn.functional.conv2d(torch.from_numpy(images).double(), state["conv1.weight"].double(), padding=1)
    # float32 sums of 27 products, values of a few units
    torch.testing.assert_close(net.bn1.running_mean.double(), y.mean(dim=(0, 2, 3)), rtol=0, atol=1e-5)
    assert not command(*arguments, "--json").exit_code
    assert read_manifest(out).input_sha256("bn_images")


def test_digests_are_checked_before_anything_is_read(state, tmp_path):
    file = saved(tmp_path, state, "resnet8-0123abcd.pth")
    result = command(file)
    assert result.exit_code == 2 and "begins with 0123abcd" in " ".join(result.stderr.split())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert command(file, "--sha256", digest[:12], "--out", tmp_path / "n.safetensors").exit_code == 0
    other = command(file, "--sha256", "f" * 64, "--out", tmp_path / "m.safetensors")
    assert other.exit_code == 2 and "--sha256 says ffff" in " ".join(other.stderr.split())
    assert not (tmp_path / "m.safetensors").exists()


def test_the_same_weights_in_other_files_have_one_digest_of_tensors(state, tmp_path):
    results = [imported(saved(tmp_path, state)), imported(saved(tmp_path, {"model": as_idelbayev(state)}), license="x")]
    np.savez(tmp_path / "w.npz", **{k: v.numpy() for k, v in state.items()})
    results.append(imported(tmp_path / "w.npz"))
    assert len({r.tensors_sha256 for r in results}) == 1 and len({r.source_sha256 for r in results}) == 3


def test_plain_nets_come_by_name(state, tmp_path):
    result = imported(saved(tmp_path, state), net="plain8")
    assert (result.net, result.recognised, result.alternatives) == ("plain8", False, ())
    assert load_checkpoint(result.file).spec.name == "plain8"


def test_a_mean_image_gives_its_channels(state, tmp_path):
    image = np.random.default_rng(0).uniform(90, 130, (3, 8, 8)).astype(np.float32)  # B G R
    np.save(tmp_path / "mean.npy", image)
    result = imported(saved(tmp_path, state), mean_image=tmp_path / "mean.npy")
    want = image[::-1].astype(np.float64).mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(result.preprocess.mean, want, rtol=1e-12)
    assert f"differ from that by up to {np.abs(image - image.mean(axis=(1, 2), keepdims=True)).max():.2f}" in (
        result.mean_from
    )
    assert load_checkpoint(result.file).manifest.preprocess == result.preprocess


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "12345"}, "'12345' is not 8 to 64 hexadecimal digits"),
        ({"check_input": Path("x.npy")}, "belong together"),
        ({"check_tolerance": 2.0, "check_input": Path("x"), "check_output": Path("y")}, "is 2, expected between"),
        ({"check_tolerance": 0.1}, "without --check-input"),
        ({"mean": (0.5, 0.5, 0.5), "mean_image": Path("m.npy")}, "--mean and --mean-image were both given"),
        ({"recompute_bn": "digits", "recompute_images": 0}, "of 0 images"),
        ({"report": Path("n.safetensors.json")}, "is the checkpoint or its manifest"),
        ({"report": Path("w.pth")}, "would overwrite"),
    ],
)
def test_options_that_can_not_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ImportOptions(file=Path("w.pth"), out=Path("n.safetensors"), **changes)


@pytest.mark.slow
def test_timms_vgg16_is_torchvisions(tmp_path):
    """A whole VGG-16 of 0.5 GB through timm's names: the same tensors, bit for bit."""
    state = build_net(find_net("vgg16"), num_classes=5).state_dict()
    renamed = {}
    for key, value in state.items():
        for old, new, shape in (
            ("0", "pre_logits.fc1", (4096, 512, 7, 7)),
            ("3", "pre_logits.fc2", (4096, 4096, 1, 1)),
            ("6", "head.fc", None),
        ):
            if key.startswith(f"classifier.{old}."):
                key = f"{new}.{key.rpartition('.')[2]}"
                value = value.reshape(shape) if shape and value.ndim == 2 else value
        renamed[key] = value
    result = imported(saved(tmp_path, renamed))
    assert result.net == "vgg16" and result.num_classes == 5
    loaded = load_checkpoint(result.file).net.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize(("name", "net"), [("resnet20-12fca82f.th", "resnet20"), ("resnet56-4bfd9763.th", "resnet56")])
def test_public_cifar_weights_import(name, net, tmp_path):
    if not (SHARED / "weights" / name).is_file():
        pytest.skip(f"no {name} in ../shared/data/weights")
    result = import_weights(ImportOptions(file=SHARED / "weights" / name, out=tmp_path / "n.safetensors"))
    assert result.net == net
    assert result.source_sha256.startswith(name.removesuffix(".th").split("-")[1])  # the name carries the digest


@pytest.mark.slow
def test_imported_resnet20_classifies_cifar10_as_known(tmp_path):
    """81.03 % on the JPEG copy of CIFAR-10's test images, measured with the weights' own definition of the net."""
    weights, data = SHARED / "weights" / "resnet20-12fca82f.th", SHARED / "cifar10-jpeg"
    if not weights.is_file() or not data.is_dir():
        pytest.skip("no resnet20 weights or CIFAR-10 images in ../shared/data")
    out = tmp_path / "n.safetensors"
    import_weights(ImportOptions(file=weights, out=out))
    checkpoint = load_checkpoint(out)
    source, predicted = open_images(str(data), split="test"), []
    with torch.inference_mode():
        for batch in input_batches(source, checkpoint.manifest.preprocess, batch_size=250):
            predicted.append(checkpoint.net(torch.from_numpy(batch.images)).argmax(1).numpy())
    assert source.classes == CIFAR10_LABELS == checkpoint.manifest.labels
    # 0.05 points are 5 of 10,000 images: room for near ties that other summation orders and JPEG decoders decide
    assert 100 * np.mean(np.concatenate(predicted) == source.labels) == pytest.approx(81.03, abs=0.05)
