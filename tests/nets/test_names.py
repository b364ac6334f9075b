from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.catalogue import find_net, known_nets, net_of_depth
from resnet_deploy.nets.names import IMAGENET_DEPTHS, NetName, read_net_name

DEEP = st.sampled_from([50, 101, 152])
CIFAR = st.integers(1, 300).map(lambda n: 6 * n + 2)


def name(architecture, family, depth, shortcut, variant="-"):
    return NetName(architecture=architecture, family=family, depth=depth, shortcut=shortcut, variant=variant)


NAMES = st.one_of(
    st.builds(lambda d, s: name("resnet", "imagenet", d, s), st.sampled_from([18, 34]), st.sampled_from("ABC")),
    st.builds(
        lambda d, s, v: name("resnet", "imagenet", d, s, v),
        DEEP,
        st.sampled_from("ABC"),
        st.sampled_from(["v1", "v1.5", "v1-caffe"]),
    ),
    st.builds(lambda d, s: name("resnet", "cifar", d, s), CIFAR, st.sampled_from("ABC")),
    st.builds(lambda d: name("plain", "imagenet", d, "none"), st.sampled_from([18, 34])),
    st.builds(lambda d: name("plain", "cifar", d, "none"), CIFAR),
    st.builds(lambda d, v: name("vgg", "imagenet", d, "none", v), st.sampled_from([16, 19]), st.sampled_from("-b")),
)


@settings(deadline=None)
@given(NAMES)
def test_every_legal_combination_has_one_name_that_reads_back(wanted):
    if wanted.variant == "b":
        wanted = name("vgg", "imagenet", wanted.depth, "none", "bn")
    assert read_net_name(wanted.text) == wanted
    assert find_net(wanted.text).name == wanted.text


@pytest.mark.parametrize(
    "text, family, shortcut, variant",
    [
        ("resnet50", "imagenet", "B", "v1.5"),
        ("resnet50-v1", "imagenet", "B", "v1"),
        ("resnet50-v1-c", "imagenet", "C", "v1"),
        ("resnet101-v1-caffe", "imagenet", "B", "v1-caffe"),
        ("resnet152-a", "imagenet", "A", "v1.5"),
        ("resnet34-a", "imagenet", "A", "-"),
        ("resnet20", "cifar", "A", "-"),
        ("resnet20-b", "cifar", "B", "-"),
        ("resnet50-cifar", "cifar", "A", "-"),
        ("plain152-cifar", "cifar", "none", "-"),
        ("plain34", "imagenet", "none", "-"),
        ("plain20", "cifar", "none", "-"),
        ("vgg19-bn", "imagenet", "none", "bn"),
    ],
)
def test_what_a_name_says(text, family, shortcut, variant):
    spec = find_net(text)
    assert (spec.family, spec.shortcut, spec.variant) == (family, shortcut, variant)
    assert spec.num_classes == (1000 if family == "imagenet" else 10)


@pytest.mark.parametrize(
    "text, said",
    [
        ("resent50", r"'resent50' \(did you mean 'resnet50'\?\)"),
        ("ResNet-50", "did you mean 'resnet50'"),
        ("resnet_20", "did you mean 'resnet20'"),
        ("resnet21", "21 is not 6n[+]2, the nearest depths are 20 and 26"),
        ("resnet4", "the nearest depths are 8 and 14"),
        ("resnet34-b", "did you mean 'resnet34'"),
        ("resnet20-a", "did you mean 'resnet20'"),
        ("resnet50-v1.5", "did you mean 'resnet50'"),
        ("resnet020", "did you mean 'resnet20'"),
        ("resnet20-cifar", "did you mean 'resnet20'"),
        ("resnet34-v1", "variant 'v1' is one of bottleneck nets"),
        ("plain50", "CIFAR's with 50 is called 'plain50-cifar'"),
        ("plain101", "have 18 and 34 layers"),
        ("plain20-a", "a plain net has no shortcuts; did you mean 'resnet20'"),
        ("plain34-c", "did you mean 'resnet34-c'"),
        ("vgg11", "'vgg11'"),
        ("vgg16_bn", "did you mean 'vgg16-bn'"),
        ("", "unknown net ''"),
    ],
)
def test_a_wrong_name_says_what_is_wrong_with_it(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        find_net(text)
    assert "resnet-deploy nets list" in caught.value.remedy


@pytest.mark.parametrize("text", ["resent50", "resnet34-b", "resnet50-a-v1", "plain20-a", "plain50", "vgg16_bn"])
def test_what_is_suggested_exists(text):
    with pytest.raises(ConfigError) as caught:
        find_net(text)
    *_, suggestion = re.findall(r"'([a-z0-9.-]+)'", caught.value.message)
    assert suggestion != text and find_net(suggestion)


def test_depth_alone_is_torchvisions_net():
    assert [net_of_depth(depth).name for depth in IMAGENET_DEPTHS] == [f"resnet{d}" for d in IMAGENET_DEPTHS]
    with pytest.raises(ConfigError, match="unknown depth 19") as caught:
        net_of_depth(19)
    assert "18, 34, 50, 101, 152" in str(caught.value)


def test_the_list_is_short_without_repeats_and_the_usual_form_of_a_depth_comes_first():
    specs = known_nets()
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names) <= 30
    for depth in (18, 34, 50, 101, 152):
        assert next(s.name for s in specs if s.depth == depth) == f"resnet{depth}"
