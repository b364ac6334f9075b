import pytest
import torch

from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError
from resnet_deploy.nets import checkpoint
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import check_state_fits, fresh_net, load_checkpoint, save_checkpoint


def save(path, net, spec, classes=10):
    return save_checkpoint(
        path,
        net,
        spec=spec,
        preprocess=spec.preprocess,
        labels=tuple(f"c{i}" for i in range(classes)),
        stage="train",
        inputs={},
        options={},
        details={},
    )


@pytest.fixture
def saved(tmp_path):
    spec = find_net("resnet8")
    net = fresh_net(spec, seed=1)
    path = tmp_path / "resnet8.safetensors"
    save(path, net, spec)
    return path, net


def test_a_checkpoint_reads_back_bit_for_bit(saved):
    path, net = saved
    loaded = load_checkpoint(path)
    assert loaded.spec.name == "resnet8" and not loaded.net.training
    for key, value in net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[key], value)


def test_a_truncated_checkpoint_is_named(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"resnet8\.safetensors"):
        load_checkpoint(path)


def test_nan_in_weights_is_named(tmp_path):
    spec = find_net("resnet8")
    net = build_net(spec)
    with torch.no_grad():
        net.layer2[0].conv1.weight[3, 0, 1, 1] = float("nan")
    with pytest.raises(ArtifactError, match=r"'layer2\.0\.conv1\.weight' holds 1 NaN or infinite values of 4608"):
        save(tmp_path / "x.safetensors", net, spec)
    assert not list(tmp_path.iterdir())


def test_another_nets_state_names_the_first_difference_and_both_shapes():
    state = build_net(find_net("resnet18")).state_dict()
    with pytest.raises(ArtifactMismatchError, match=r"'layer1\.0\.conv1\.weight' has shape \[64, 64, 3, 3\]") as caught:
        check_state_fits(build_net(find_net("resnet50")), state, net_name="resnet50", source="x.pth")
    assert "resnet50 expects [64, 64, 1, 1]" in str(caught.value)
    with pytest.raises(ArtifactMismatchError, match=r"further keys, first 'layer1\.1\.conv1\.weight'"):
        state = build_net(find_net("resnet20")).state_dict()
        check_state_fits(build_net(find_net("resnet8")), state, net_name="resnet8", source="x.pth")
    with pytest.raises(ArtifactMismatchError, match=r"'fc\.weight' has shape \[10, 64\], resnet8 expects \[12, 64\]"):
        state = build_net(find_net("resnet8")).state_dict()
        check_state_fits(build_net(find_net("resnet8"), num_classes=12), state, net_name="resnet8", source="x.pth")


def test_a_fresh_net_is_repeatable_and_stays_in_fp16s_range():
    spec = find_net("resnet110")
    first, second = fresh_net(spec, seed=3), fresh_net(spec, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    peak = []
    for block in first.layer3:
        block.register_forward_hook(lambda _m, _i, out: peak.append(out.abs().max().item()))
    with torch.no_grad():
        first(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert max(peak) < 6e4  # FP16 ends at 65,504


def rounding_error(name):
    """Of float32 against float64, relative to the largest logit."""
    net = fresh_net(find_net(name))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        single, double = net(images), net.double()(images.double())
    return float((single - double).abs().max() / double.abs().max())


@pytest.mark.parametrize("name, depth", [("plain56", 56), ("resnet20-c", 20), ("resnet56-b", 56)])
def test_a_fresh_net_does_not_amplify_roundings(name, depth, monkeypatch):
    """The bound of every export's check: layers * sqrt(576 terms of the longest sum) * 2^-24, see export.parity."""
    bound = depth * 24 * 2.0**-24
    assert rounding_error(name) < bound
    if name == "plain56":
        monkeypatch.setattr(checkpoint, "_tame", lambda block: None)
        assert rounding_error(name) > bound
