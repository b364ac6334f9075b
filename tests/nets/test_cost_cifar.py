"""Counts of the CIFAR nets; literals computed from the paper's architecture apart from this code."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.cifar import cifar_resnet
from resnet_deploy.nets.cost import net_cost

ROWS = {  # n: params plain = A, multiply-adds A, params B, params C, folded A, conv outputs
    3: (269_722, 40_551_040, 272_474, 283_962, 269_034, 188_416),
    5: (464_154, 68_862_592, 466_906, 489_594, 463_018, 303_104),
    7: (658_586, 97_174_144, 661_338, 695_226, 657_002, 417_792),
    9: (853_018, 125_485_696, 855_770, 900_858, 850_986, 532_480),
    18: (1_727_962, 252_887_680, 1_730_714, 1_826_202, 1_723_914, 1_048_576),
    200: (19_421_274, 2_829_238_912, 19_424_026, 20_538_714, 19_376_458, 11_485_184),
}


@pytest.mark.parametrize("n", ROWS)
def test_the_papers_nets(n):
    depth = 6 * n + 2
    cost = net_cost(find_net(f"resnet{depth}"))
    counts = cost.folded_parameters, cost.conv_output_elements
    assert (cost.parameters, cost.multiply_adds, *counts) == (*ROWS[n][:2], *ROWS[n][4:])
    assert cost.num_convs == 6 * n + 1


@pytest.mark.parametrize("n", [3, 9, 18])
def test_shortcut_options_and_plain(n):
    depth = 6 * n + 2
    plain = net_cost(find_net(f"plain{depth}"))
    assert (plain.parameters, plain.multiply_adds) == ROWS[n][:2]  # option A adds nothing
    assert net_cost(find_net(f"resnet{depth}-b")).parameters == ROWS[n][2]
    projected = net_cost(find_net(f"resnet{depth}-c"))
    assert projected.parameters == ROWS[n][3]
    assert projected.num_convs == 6 * n + 1 + 3 * n  # 3n shortcuts, each a projection


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 40))
def test_closed_forms_hold_for_any_n(n):
    """params = 97,216 n - 21,926 and multiply-adds = 14,155,776 n - 1,916,288 for option A at 32 px."""
    name = f"resnet{6 * n + 2}" + ("-cifar" if 6 * n + 2 in (50, 152) else "")
    cost = net_cost(find_net(name))
    assert (cost.parameters, cost.multiply_adds) == (97_216 * n - 21_926, 14_155_776 * n - 1_916_288)


def test_stages_of_resnet20():
    stages = net_cost(find_net("resnet20")).stages
    assert [(s.name, s.parameters) for s in stages] == [
        ("stem", 464),
        ("layer1", 14_016),
        ("layer2", 51_072),
        ("layer3", 203_520),
        ("fc", 650),
    ]
    assert [s.num_convs for s in stages] == [1, 6, 6, 6, 0]  # 1 + 2n, 2n, 2n layers


def test_maps_and_widths():
    with torch.device("meta"):
        net = build_net(find_net("resnet8")).eval()
        shapes = []
        for stage in (net.layer1, net.layer2, net.layer3):
            stage.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:3])))
        net(torch.empty(1, 3, 32, 32))
    assert shapes == [(16, 32), (32, 16), (64, 8)]


@pytest.mark.parametrize("depth", [2, 21, 18])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth):
    with pytest.raises(ConfigError, match=f"CIFAR depth {depth} is not 6n"):
        cifar_resnet(depth)
