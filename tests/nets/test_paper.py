from __future__ import annotations

import re

import pytest

from resnet_deploy.nets.catalogue import find_net, known_nets
from resnet_deploy.nets.paper import _rounding, compare_with_paper, paper_error_percent, paper_figures


def comparison(name, quantity="multiply-adds"):
    return next(item for item in compare_with_paper(find_net(name)) if item.figure.quantity == quantity)


def figures(name, quantity):
    return [f.value for f in paper_figures(find_net(name)) if f.quantity == quantity]


@pytest.mark.parametrize(
    "name, printed, ours, said",
    [
        ("plain18", 1.8e9, 1_794_805_760, "1.795 rounds to 1.8"),
        ("resnet18", 1.8e9, 1_814_073_344, "1.814 rounds to 1.8"),
        ("resnet34-a", 3.6e9, 3_644_493_824, "3.644 rounds to 3.6"),
        ("resnet34", 3.6e9, 3_663_761_408, "3.664 is cut off to 3.6, it would round to 3.7; option A"),
        ("resnet50-v1", 3.8e9, 3_857_973_248, "3.858 is cut off to 3.8, it would round to 3.9"),
        ("resnet50-v1-caffe", 3.8e9, 3_857_973_248, "3.858 is cut off to 3.8"),
        ("resnet50", 3.8e9, 4_089_184_256, r"from the first 1x1 to the 3x3, \+231,211,008; .* 3,857,973,248"),
        ("resnet101", 7.6e9, 7_801_405_440, r"\+231,211,008; .*7,570,194,432: 7.570 rounds to 7.6"),
        ("resnet152", 11.3e9, 11_513_626_624, r"\+231,211,008; .*11,282,415,616: 11.282 rounds to 11.3"),
        (
            "vgg16",
            15.3e9,
            15_470_264_320,
            "alone 15,346,630,656, .* 15,470,264,320; the paper counts convolutions alone",
        ),
        ("vgg19", 19.6e9, 19_632_062_464, "alone 19,508,428,800, .*; the paper counts with the linear layers"),
    ],
)
def test_flops_of_the_paper_beside_ours_and_why(name, printed, ours, said):
    item = comparison(name)
    assert (item.figure.value, item.ours) == (printed, ours)
    assert re.search(said, item.why)


def test_parameters_of_table_6():
    printed = {20: 0.27e6, 32: 0.46e6, 44: 0.66e6, 56: 0.85e6, 110: 1.7e6, 1202: 19.4e6}
    for depth, value in printed.items():
        item = comparison(f"resnet{depth}", "parameters")
        assert item.figure.value == value and "rounds to" in item.why


def test_how_a_figure_was_rounded_is_not_claimed_where_neither_way_gives_it():
    assert _rounding(3.858, 3.8) == "3.858 is cut off to 3.8, it would round to 3.9"
    assert _rounding(3.761, 3.8) == "3.761 rounds to 3.8"
    assert _rounding(3.9, 3.8) == "3.900 does not give 3.8"
    assert _rounding(18.56, 18.0) == "18.56 is cut off to 18, it would round to 19"


def test_errors_have_the_papers_order():
    """C < B < A < plain (Table 3); deeper residual nets better, the deeper plain net worse (Table 2)."""
    top1 = {name: figures(name, "top-1 error")[0] for name in ("resnet34-c", "resnet34", "resnet34-a", "plain34")}
    assert list(top1.values()) == [24.19, 24.52, 25.03, 28.54]
    assert figures("plain18", "top-1 error")[0] < top1["plain34"]
    assert figures("resnet18-a", "top-1 error")[0] > top1["resnet34-a"]
    assert [figures(f"resnet{d}-v1", "top-1 error") for d in (50, 101, 152)] == [
        [22.85, 20.74],
        [21.75, 19.87],
        [21.43, 19.38],
    ]
    assert figures("resnet152-v1", "top-5 error") == [5.71, 4.49]
    assert figures("plain34", "top-5 error") == [10.02] and figures("vgg16", "top-5 error") == [9.33]


def test_a_net_that_the_paper_did_not_measure_says_whose_figure_it_shows():
    assert paper_error_percent(find_net("resnet50")) is None
    assert paper_error_percent(find_net("resnet50-v1")) == 22.85
    assert paper_error_percent(find_net("resnet20")) == 8.75
    errors = [c for c in compare_with_paper(find_net("resnet50")) if c.figure.quantity == "top-1 error"]
    assert all(c.ours is None and "the paper's net is resnet50-v1" in c.why for c in errors)


@pytest.mark.parametrize("name", ["resnet50-c", "resnet50-v1-a", "resnet20-b", "vgg16-bn", "plain20", "resnet26"])
def test_nets_without_a_figure(name):
    assert compare_with_paper(find_net(name)) == ()


def test_plain110_has_a_bound_and_no_error():
    (figure,) = paper_figures(find_net("plain110"))
    assert figure.printed == "> 60 %" and paper_error_percent(find_net("plain110")) is None


def test_every_figure_names_a_net_that_exists():
    for spec in known_nets():
        for figure in paper_figures(spec):
            assert find_net(figure.net).depth == spec.depth
