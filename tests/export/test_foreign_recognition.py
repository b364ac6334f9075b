"""Every layout and every net, on state dicts without memory (meta tensors) made with the layouts' keys and shapes."""

from __future__ import annotations

import re

import pytest
import torch

from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError
from resnet_deploy.export.key_rules import map_keys
from resnet_deploy.export.recognise import classifier_rows, recognise, refuse_other_stems
from resnet_deploy.nets.catalogue import build_net, find_net


def keys_of(name: str, num_classes: int = 7) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return dict(build_net(find_net(name), num_classes=num_classes).state_dict())


def found(stored: dict[str, torch.Tensor]):
    state = map_keys(stored, source="w.pth")
    refuse_other_stems(state.tensors, source="w.pth")
    return recognise(state, classifier_rows(state.tensors, source="w.pth"), source="w.pth")


@pytest.mark.parametrize(
    ("name", "usual", "alternatives"),
    [
        ("resnet18", "resnet18", ()),
        ("resnet34", "resnet34", ()),
        ("resnet50", "resnet50", ("resnet50-v1", "resnet50-v1-caffe")),
        ("resnet50-v1-caffe", "resnet50", ("resnet50-v1", "resnet50-v1-caffe")),
        ("resnet101", "resnet101", ("resnet101-v1", "resnet101-v1-caffe")),
        ("resnet152", "resnet152", ("resnet152-v1", "resnet152-v1-caffe")),
        ("resnet34-a", "resnet34-a", ("plain34",)),
        ("plain18", "resnet18-a", ("plain18",)),
        ("resnet34-c", "resnet34-c", ()),
        ("resnet50-a", "resnet50-a", ("resnet50-v1-a", "resnet50-v1-caffe-a")),
        ("resnet50-v1-c", "resnet50-c", ("resnet50-v1-c", "resnet50-v1-caffe-c")),
        ("vgg16", "vgg16", ()),
        ("vgg16-bn", "vgg16-bn", ()),
        ("vgg19", "vgg19", ()),
        ("vgg19-bn", "vgg19-bn", ()),
        ("resnet8", "resnet8", ("plain8",)),
        ("resnet20", "resnet20", ("plain20",)),
        ("plain56", "resnet56", ("plain56",)),
        ("resnet20-b", "resnet20-b", ()),
        ("resnet110-c", "resnet110-c", ()),
        ("resnet50-cifar", "resnet50-cifar", ("plain50-cifar",)),
    ],
)
def test_the_usual_net_is_taken_and_the_others_are_named(name, usual, alternatives):
    recognition = found(keys_of(name))
    assert (recognition.spec.name, recognition.alternatives) == (usual, alternatives)


def old_torchvision(state):
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def timm_vgg(state):
    """timm's VGG: hidden linear layers as convolutions `pre_logits.fc1` (7x7) and `fc2` (1x1), then `head.fc`."""
    renamed = {}
    for key, value in state.items():
        place, _, rest = key.partition(".")
        if place == "classifier":
            index, _, part = rest.partition(".")
            key = {"0": "pre_logits.fc1", "3": "pre_logits.fc2", "6": "head.fc"}[index] + f".{part}"
            if part == "weight" and index != "6":
                value = value.reshape(4096, -1, 7, 7) if index == "0" else value.reshape(4096, 4096, 1, 1)
        renamed[key] = value
    return renamed


def openmmlab(state):
    return {("head." if k.startswith("fc.") else "backbone.") + k: v for k, v in state.items()}


def averaged(state):
    return {"n_averaged": torch.empty((), dtype=torch.int64), **{f"module.{k}": v for k, v in state.items()}}


def profiled(state):
    return {**state, "total_ops": torch.empty(1), "layer1.0.conv1.total_params": torch.empty(1)}


@pytest.mark.parametrize(
    ("name", "layout", "num_ignored"),
    [
        ("resnet50", old_torchvision, 0),
        ("resnet101", lambda s: {f"module.{k}": v for k, v in s.items()}, 0),
        ("resnet34", lambda s: {f"model.{k}": v for k, v in s.items()}, 0),
        ("resnet20-b", lambda s: {re.sub("^fc", "linear", k): v for k, v in s.items()}, 0),
        ("resnet50", openmmlab, 0),
        ("vgg16", timm_vgg, 0),
        ("vgg19-bn", timm_vgg, 0),
        ("resnet18", averaged, 1),
        ("resnet18", profiled, 2),
    ],
)
def test_every_layout_comes_to_the_nets_own_keys(name, layout, num_ignored):
    ours = keys_of(name)
    state = map_keys(layout(ours), source="w.pth")
    assert found(layout(ours)).spec.name == name
    assert len(state.ignored) == num_ignored and all(entry.reason for entry in state.ignored)
    assert {k: v.shape for k, v in state.tensors.items()} == {
        k: v.shape for k, v in (old_torchvision(ours) if layout is old_torchvision else ours).items()
    }
    assert [key.key for key in state.keys] == list(state.tensors)


def test_a_linear_layer_written_as_convolution_is_the_same_sums():
    """Independent of the shapes: torch's own convolution over the 7x7 map equals the flattened linear layer."""
    generator = torch.Generator().manual_seed(0)
    conv = torch.randint(-4, 5, (4096, 2, 7, 7), generator=generator).float()  # small integers: exact sums
    x = torch.randint(-4, 5, (1, 2, 7, 7), generator=generator).float()
    mapped = map_keys({"pre_logits.fc1.weight": conv}, source="x").tensors["classifier.0.weight"]
    assert torch.equal(torch.nn.functional.conv2d(x, conv).flatten(1), x.flatten(1) @ mapped.T)


def deep_stem(state):
    """timm's resnet50d: stem of three convolutions, average pooling (no parameters) before the projection."""
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"downsample\.1\.", "downsample.2.", key)
        key = re.sub(r"downsample\.0\.", "downsample.1.", key)
        renamed[key] = value
    del renamed["conv1.weight"]
    stem = {"conv1.0.weight": (32, 3, 3, 3), "conv1.3.weight": (32, 32, 3, 3), "conv1.6.weight": (64, 32, 3, 3)}
    return {**{k: torch.empty(v, device="meta") for k, v in stem.items()}, **renamed}


def test_d_variants_are_refused_with_their_reasons():
    with pytest.raises(ArtifactMismatchError, match=r"-d variant.*'conv1\.0\.weight' \[32, 3, 3, 3\]") as info:
        found(deep_stem(keys_of("resnet50")))
    assert "average pooling before the projection ('layer1.0.downsample.1.weight' is a convolution" in str(info.value)
    assert "resnet50 for resnet50d" in (info.value.remedy or "")


def resnext(state):
    return {k: torch.empty(v.shape[0], 4, 3, 3) if k.endswith("conv2.weight") else v for k, v in state.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (resnext, "ResNeXt"),
        (lambda s: {**s, "layer1.0.se.fc1.weight": torch.empty(1)}, "squeeze-and-excitation"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("fc.")}, "classifier was taken off"),
        (lambda s: {f"stages.{k}": v for k, v in s.items()}, "pre-activation"),
    ],
)
def test_relatives_are_named_in_the_remedy(change, message):
    with pytest.raises(ArtifactMismatchError) as info:
        found(change(keys_of("resnet50")))
    assert message in (info.value.remedy or "")


def test_blocks_of_no_known_depth_are_counted():
    state = keys_of("resnet50")
    extra = {k.replace("layer3.5", "layer3.6"): v for k, v in state.items() if k.startswith("layer3.5")}
    with pytest.raises(ArtifactMismatchError, match=r"its stages have \(3, 4, 7, 3\) blocks"):
        found({**state, **extra})


def test_two_names_for_one_key_are_refused():
    state = keys_of("resnet20")
    with pytest.raises(ArtifactError, match=r"two keys stand for 'fc\.bias', the second is 'linear\.bias'"):
        map_keys({**state, "linear.bias": state["fc.bias"]}, source="w.pth")
