"""Jobs of several processes against one process, and jobs that lose a process. Real processes, gloo."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.progress import NO_PROGRESS
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.source import open_images
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.train import augment, images, loop
from resnet_deploy.train.distributed import SINGLE, World, join_world
from resnet_deploy.train.images import error_counts, open_train_images
from resnet_deploy.train.options import TrainOptions
from resnet_deploy.train.step import StepSettings, TrainStep
from resnet_deploy.train.subject import CatalogueNet
from tests.train.jobs import Ended, Kill, run_job, trained, write_digit_folder
from tests.train.test_resume import RECIPE, STREAMED, options, rows, same_weights

TWO_PARTS = StepSettings(accumulate=2)
SYNCED = StepSettings(sync_bn=True)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """64 training images; 31 held out, which two processes can not share equally."""
    return write_digit_folder(tmp_path_factory.mktemp("digits"), train=64, val=31)


def trained_with(fault: str, is_double: bool, options: TrainOptions):
    """Train in this process with something wrong, or in float64."""
    loop.draw_curves = lambda *_, **__: None  # takes as long as all that is compared here
    if fault == "wrong shard":
        World.share = lambda self, count: slice(0, count // self.size)
    elif fault == "no averaging":
        TrainStep._without_exchange = lambda self, wanted: self._forward.no_sync()
    if is_double:
        fresh, normalize = CatalogueNet.build, augment.normalize_batch
        CatalogueNet.build = lambda *arguments: fresh(*arguments).double()
        augment.normalize_batch = images.normalize_batch = lambda *arguments: normalize(*arguments).double()
    return trained(options)


def distance(a: Path, b: Path) -> float:
    """Relative, of all weights and biases in the L2 norm. BN statistics are those of one half with local BN."""
    first, second = (
        torch.cat([v.double().flatten() for k, v in load_file(file).items() if k.endswith((".weight", ".bias"))])
        for file in (a, b)
    )
    return float((first - second).norm() / second.norm())


@pytest.fixture(scope="module")
def runs(digits, tmp_path_factory):
    """Checkpoints of the same four steps, computed in several ways; "64" is in float64."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = replace(RECIPE, epochs=1, learning_rate=0.003, warmup_fraction=0.0, name="short")
    ways = {
        "two parts": (1, TWO_PARTS, "none"),
        "two processes": (2, StepSettings(), "none"),
        "wrong shard": (2, StepSettings(), "wrong shard"),
        "no averaging": (2, StepSettings(), "no averaging"),
        "whole 64": (1, StepSettings(), "none"),
        "local 64": (2, StepSettings(), "none"),
        "synced 64": (2, SYNCED, "none"),
    }
    files = {}
    for name, (size, how, fault) in ways.items():
        files[name] = folder / f"{name}.safetensors"
        asked = options(files[name], digits, recipe, how=how, distributed=size > 1)
        for process in run_job(trained_with, fault, name.endswith("64"), asked, size=size):
            assert process.code == 0 and process.error is None, (name, process.error)
    return files


def same_losses(a: Path, b: Path) -> bool:
    # Losses are float32 (2^-24); one process adds its two parts in float32, two processes add theirs in float64.
    pairs = list(zip(rows(a), rows(b), strict=True))
    return all(abs(ours["train_loss"] / theirs["train_loss"] - 1) < 2.0**-22 for ours, theirs in pairs)


def test_two_processes_are_one_process_that_accumulates_two_parts(runs):
    """Bit for bit: the halves go through the same kernels, a mean of two halves is exact but for a + b = b + a."""
    assert distance(runs["two processes"], runs["two parts"]) == 0
    assert same_losses(runs["two processes"], runs["two parts"])


def test_with_synchronised_bn_two_processes_are_one_process_with_the_whole_batch(runs):
    """In float64, where rounding is far from every other cause.

    A sum of the 16,384 values of a channel costs log2(16384) = 14 roundings of 2^-53 where it is added in pairs; some
    40 such sums lie between an image and its gradients: 6e-14 a step. Errors grow from step to step, here 2,000-fold
    in four steps (measured, for images in another order): 1.3e-10. Float32 starts 5e8 times higher and can not tell
    rounding from local BN on these images, whose equal pixels cross a ReLU's edge together.
    """
    assert distance(runs["synced 64"], runs["whole 64"]) < 1.3e-10
    assert same_losses(runs["synced 64"], runs["whole 64"])


@pytest.mark.parametrize(
    ("fault", "same_as"),
    [("wrong shard", "two parts"), ("no averaging", "two parts"), ("local 64", "whole 64")],
    ids=["wrong shard", "no averaging", "local BN in place of synchronised"],
)
def test_a_planted_fault_leaves_the_trajectory(fault, same_as, runs):
    assert distance(runs[fault], runs[same_as]) > 1e-5
    assert not same_losses(runs[fault], runs[same_as])


def counts(data: Path, streamed: bool) -> tuple[int, int]:
    """What distributed evaluation counts."""
    with join_world(distributed=True) as world:
        return error_counts(_net(), _held_out(data, streamed, world), world=world)


def _net() -> nn.Module:
    torch.manual_seed(3)
    return build_net(find_net("resnet8"), num_classes=10)


def _held_out(data: Path, streamed: bool, world: World):
    return open_train_images(
        open_images(str(data), split="val"),
        DIGITS_PREPROCESS,
        STREAMED if streamed else None,
        world=world,
        cache_file=data / "val.pixels",
        num_workers=1,
        bad=BadImages(),
        progress=NO_PROGRESS,
    )


@pytest.mark.parametrize("streamed", [False, True], ids=["cached", "streamed"])
def test_evaluation_counts_each_image_once(streamed, digits):
    alone = error_counts(_net(), _held_out(digits, streamed, SINGLE), world=SINGLE)
    assert alone[1] == 31
    assert [process.result for process in run_job(counts, digits, streamed, size=2)] == [alone, alone]


def test_a_lost_process_ends_the_job_and_the_same_call_resumes_to_the_same_bits(digits, tmp_path):
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    assert [p.error for p in run_job(trained, options(whole, digits, distributed=True), size=2)] == [None, None]
    asked = options(killed, digits, distributed=True)
    survivor, lost = run_job(trained, asked, Kill(at="step", count=5, rank=1), size=2)
    assert lost.code == -signal.SIGKILL
    _, message, is_told = survivor.error
    assert "process 0 of 2 can not go on" in message and "give the same command again" in message and not is_told
    assert not killed.exists() and not list(tmp_path.glob(".*.part"))
    ended = run_job(trained, asked, size=2)
    assert ended[0].result.resumed_from_step == 4
    assert same_weights(whole, killed) and rows(whole) == rows(killed)


@pytest.mark.slow
@pytest.mark.parametrize("rehearsed", [True, False])
def test_three_processes_add_in_the_same_order_after_a_resume(rehearsed, digits, tmp_path):
    """a + b + c depends on the order; without the first backward pass that changes nothing, bits differ."""
    recipe = replace(RECIPE, batch_size=12, name="twelve")
    files = [tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"]
    fault = "none" if rehearsed else "no rehearsal"
    run_job(rehearsing, fault, options(files[0], digits, recipe, distributed=True), None, size=3)
    asked = options(files[1], digits, recipe, distributed=True)
    run_job(rehearsing, fault, asked, Kill(at="step", count=5, rank=2), size=3)
    assert run_job(rehearsing, fault, asked, None, size=3)[0].result[0].resumed_from_step > 0
    assert same_weights(*files) == rehearsed


def rehearsing(fault: str, options: TrainOptions, kill: Kill | None):
    if fault == "no rehearsal":
        TrainStep._rehearse = lambda self, *_: None
    return trained(options, kill)


def speakers(ended: list[Ended]) -> list[int]:
    """Ranks that tell the user an error."""
    return [rank for rank, process in enumerate(ended) if process.error and not process.error[2]]


def test_an_error_of_all_processes_is_told_by_one(digits, tmp_path):
    ended = run_job(trained, options(tmp_path / "a.safetensors", tmp_path / "none", distributed=True), size=2)
    assert [process.error[0] for process in ended] == ["DataError", "DataError"]
    assert len(speakers(ended)) == 1


def test_an_error_of_one_process_is_told_by_it_and_by_no_other(digits, tmp_path):
    ended = run_job(failing_in_one, options(tmp_path / "a.safetensors", digits, distributed=True), size=2)
    assert ended[1].error[:2] == ("DataError", "image 7 is broken")
    assert "can not go on" in ended[0].error[1]
    assert speakers(ended) == [1]


def failing_in_one(options: TrainOptions):
    with join_world(distributed=True) as world:
        if world.rank == 1:
            raise DataError("image 7 is broken")
        world.wait_for_all()


def test_machines_that_do_not_share_the_folder_are_told_so(digits, tmp_path):
    asked = options(tmp_path / "a.safetensors", digits, distributed=True)
    run_job(trained, asked, Kill(at="step", count=5), size=2)
    ended = run_job(apart, asked, size=2)
    assert [process.error[0] for process in ended] == ["ConfigError", "ConfigError"]
    assert "disagree about the step to resume from: 4, 0" in ended[0].error[1]


def apart(options: TrainOptions):
    """Train as two machines do whose folders are not the same."""
    import os

    if os.environ["RANK"] == "1":
        options = replace(options, out=options.out.parent / "elsewhere" / options.out.name)
    return trained(options)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_disjoint_and_complete(size):
    world = [World(rank=rank, size=size, device=torch.device("cpu")) for rank in range(size)]
    taken = [index for one in world for index in range(30)[one.share(30)]]
    assert taken == list(range(30))
