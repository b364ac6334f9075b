"""The benchmark of training: the peer is the same network, and the ratios mean what the report says."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from resnet_deploy.nets.catalogue import build_net, find_net
from tests.conftest import REPOSITORY


def test_the_peers_network_computes_what_ours_computes():
    from plain_training_loop import PlainResNet20

    torch.manual_seed(0)
    own, peer = build_net(find_net("resnet20")).double().eval(), PlainResNet20().double().eval()
    for value in own.buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)  # running statistics that do something
    weights = list(own.state_dict().values())
    peer.load_state_dict(dict(zip(peer.state_dict(), weights, strict=True)))  # both list their layers in order
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected, got = own(images), peer(images)
    # 20 layers of sums of at most 576 terms: an error of 2^-53 * 576 * 20 = 1.3e-12 relative
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11 * float(expected.abs().max()))


def test_the_peers_images_are_shifted_by_at_most_four_and_normalised():
    from plain_training_loop import MEAN, STD, ArrayDataset

    image = np.random.default_rng(0).integers(1, 256, (32, 32, 3), dtype=np.uint8)
    seen, places = ArrayDataset(image[None], np.array([3])), set()
    bordered = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    windows = {
        bordered[top : top + 32, left : left + 32][:, ::step].tobytes(): (top, left, step)
        for top in range(9)
        for left in range(9)
        for step in (1, -1)
    }
    for _ in range(60):
        x, label = seen[0]
        pixels = torch.round((x * STD + MEAN) * 255).permute(1, 2, 0).numpy().astype(np.uint8)
        places.add(windows[np.ascontiguousarray(pixels).tobytes()])
        assert label == 3
    assert len(places) > 30  # 60 of 162 places give 50 different ones on average


def test_rows_hold_the_ratios_of_the_same_turn():
    from training import compare

    turns = {
        "plain loop": [[300.0, 300.0], [600.0, 600.0], [300.0, 300.0]],  # the machine was busy in the second turn
        "resnet-deploy": [[198.0, 198.0], [398.0, 398.0], [148.0, 148.0]],
        "bare": [[160.0, 160.0], [400.0, 400.0], [100.0, 100.0]],
    }
    plain, own, bare = compare(turns, save_ms=2.0)
    assert plain["speedup"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert own["speedup"] == {"median": 1.5, "low": 1.5, "high": 2.0}
    assert own["ms_per_step"] == {"median": 200.0, "low": 150.0, "high": 400.0}
    assert own["images_per_second"] == pytest.approx(640.0)
    assert own["overhead_percent"]["median"] == pytest.approx(25.0)
    assert "overhead_percent" not in bare


def test_a_step_of_resnet20_is_31_gflop():
    from training_bound import step_bound

    bound = step_bound("resnet20", batch_size=128, threads=1)
    # 2 flops * 128 images * (3 passes * 40,551,040 multiply-adds - the stem's 442,368, whose input needs no gradient)
    assert bound.gflop == pytest.approx(2 * 128 * (3 * 40_551_040 - 442_368) / 1e9)
    assert 0 < bound.elementwise_fused_ms < bound.elementwise_eager_ms


@pytest.mark.slow
def test_the_script_runs_all_candidates_and_writes_its_report(tmp_path):
    out = tmp_path / "training.json"
    command = [sys.executable, "benchmarks/training.py", "--rounds", "1", "--steps", "1", "--lead-in", "1"]
    done = subprocess.run(
        [*command, "--threads", "1", "--out", str(out)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    names = [row["name"] for row in report["rows"]]
    assert names == ["plain loop", "resnet-deploy", "bare", "resnet-deploy --compile", "bare --compile",
                     "resnet-deploy --amp bf16", "bare --amp bf16"]  # fmt: skip
    assert all(row["ms_per_step"]["median"] > 0 for row in report["rows"])
    assert "Asked: 1.5 x the plain loop" in done.stdout


def test_a_wrong_argument_is_refused_before_anything_is_written(tmp_path):
    command = [sys.executable, "benchmarks/training.py", "--steps", "0", "--out", str(tmp_path / "x.json")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--rounds, --steps, --lead-in and --threads take 1 or more" in done.stderr
    assert not list(tmp_path.iterdir())
