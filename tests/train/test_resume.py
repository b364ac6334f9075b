"""A run that is killed with SIGKILL, at whatever moment, ends with the bits of a run that was not.

Oracle: the same options in one piece. The moments are in the middle of a state's write, between states, at the
rename and in evaluation; where within a run is drawn from a seeded generator.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.train import loop
from resnet_deploy.train.loop import train
from resnet_deploy.train.options import TrainOptions
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from resnet_deploy.train.step import StepSettings
from tests.train.jobs import Kill, run_job, run_killed, trained, write_digit_folder

STEPS = 12  # three epochs of 64 images in batches of 16
RECIPE = override_recipe(load_recipe("fast-digits"), {"epochs": 3, "batch_size": 16, "evaluate_every": 1})
EVERYTHING = override_recipe(
    RECIPE,
    {
        "ema_decay": 0.9,
        "mixup_alpha": 0.2,
        "cutmix_alpha": 1.0,
        "clip_norm": 1.0,
        "norm_weight_decay": 0.0,
        "per_pixel_mean": True,
        "pca_colour_std": 0.1,
    },
)
STREAMED = override_recipe(
    RECIPE, {"area_range": [0.3, 1.0], "crop_padding_px": 0, "flip": True, "rotate_degrees": 0, "scale_fraction": 0}
)
# The start phase lasts 100 steps at least; the held-out error of a net this young stalls, so the rate is divided.
RULES = override_recipe(
    load_recipe("fast-digits"),
    {
        "steps": 112,
        "batch_size": 4,
        "learning_rate": 0.15,
        "schedule": "plateau",
        "plateau_patience": 1,
        "warmup_fraction": 0.0,
        "start_learning_rate": 0.01,
        "start_until_error_percent": 100.0,
        "evaluate_every": 1,
    },
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("digits"), train=64, val=30)


def options(out: Path, data: Path, recipe: Recipe = RECIPE, **changes) -> TrainOptions:
    return TrainOptions(
        **{
            "out": out,
            "data": str(data),
            "net": "resnet8",
            "recipe": recipe,
            "num_threads": 1,
            "num_workers": 1,
            "save_every": 3,
        }
        | changes
    )


def rows(out: Path) -> list[dict]:
    """The metrics file without its times."""
    lines = out.with_name(f"{out.stem}.metrics.jsonl").read_text().splitlines()
    times = ("images_per_second", "seconds")
    return [{k: v for k, v in json.loads(line).items() if k not in times} for line in lines]


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


def moments(seed: int) -> list[Kill]:
    """One kill of each kind, in random order, each so early in the run that the next ones are still reached."""
    generator = random.Random(seed)
    kills = [
        Kill(at="step", count=generator.randint(1, 2)),  # before the first state of that process
        Kill(at="step", count=generator.randint(4, 5)),  # between two states
        Kill(at="write", count=generator.randint(1, 2)),
        Kill(at="rename", count=1),
        Kill(at="look", count=1),
    ]
    generator.shuffle(kills)
    return kills


@pytest.mark.parametrize(
    ("recipe", "changes", "kills"),
    [
        (EVERYTHING, {"how": StepSettings(accumulate=2)}, moments(1)),
        (STREAMED, {}, [Kill(at="step", count=5), Kill(at="write", count=2)]),
        (RULES, {"save_every": 40}, [Kill(at="step", count=95), Kill(at="look", count=2)]),
        pytest.param(RECIPE, {}, moments(2), marks=pytest.mark.slow),
        pytest.param(STREAMED, {"num_workers": 2}, moments(3), marks=pytest.mark.slow),
        pytest.param(RULES, {"save_every": 17}, [Kill(at="step", count=20), *moments(4)], marks=pytest.mark.slow),
        pytest.param(EVERYTHING, {"how": StepSettings(compile=True)}, moments(5)[:3], marks=pytest.mark.slow),
        pytest.param(EVERYTHING, {"how": StepSettings(amp="bf16")}, moments(6), marks=pytest.mark.slow),
    ],
    ids=["everything", "streamed", "rules", "plain", "two workers", "rules again", "compile", "bf16"],
)
def test_a_killed_run_ends_with_the_same_bits(recipe, changes, kills, digits, tmp_path):
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    assert run_job(trained, options(whole, digits, recipe, **changes))[0].code == 0
    ended = run_killed(options(killed, digits, recipe, **changes), kills)
    assert ended.code == 0 and ended.result.resumed_from_step > 0
    assert same_weights(whole, killed)
    assert rows(whole) == rows(killed)
    if recipe is RULES:  # else the test would show nothing: the start phase has ended, and the rate was divided
        rates = [row["learning_rate"] for row in rows(whole)]
        assert rates[0] == 0.01 and rates[-1] != 0.01 and rates[-1] < RULES.learning_rate
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith("killed")}
    assert left == {"killed." + path.name.removeprefix("whole.") for path in tmp_path.glob("whole.*")}


@pytest.fixture(scope="module")
def stopped(digits, tmp_path_factory) -> Path:
    """The folder of a run killed after its fifth step, with a state of step 4 (the end of an epoch)."""
    folder = tmp_path_factory.mktemp("stopped")
    ended = run_job(trained, options(folder / "a.safetensors", digits), Kill(at="step", count=5))
    assert ended[0].code == -signal.SIGKILL
    return folder


def copy_of(stopped: Path, to: Path) -> Path:
    """The state in another folder; gives the state file."""
    for path in stopped.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to / "a.state.safetensors"


@pytest.fixture
def _no_curves(monkeypatch):
    """Without the picture, which takes longer than the steps."""
    monkeypatch.setattr(loop, "draw_curves", lambda *_, **__: None)


class Lines:
    """Progress that keeps the log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, description: str, total: int | None) -> None: ...

    def advance(self, steps: int = 1, *, note: str = "") -> None: ...

    def log(self, message: str) -> None:
        self.lines.append(message)


@pytest.mark.parametrize("fault", ["none", "no momentum", "wrong step", "a weight's last bit"])
@pytest.mark.usefixtures("_no_curves")
def test_a_state_that_is_not_whole_is_noticed_by_the_comparison(fault, stopped, digits, tmp_path):
    """Planted faults: the comparison that the tests above rely on fails for each of them, and for "none" does not."""
    whole = tmp_path / "whole.safetensors"
    train(options(whole, digits))
    state = copy_of(stopped, tmp_path)
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    plain = json.loads(metadata["state"])
    if fault == "no momentum":
        tensors = {name: value * (not name.startswith("momentum/")) for name, value in tensors.items()}
    elif fault == "wrong step":
        plain["step"] += 1
    elif fault == "a weight's last bit":
        first = next(name for name in tensors if name.startswith("weight/") and name.endswith("conv1.weight"))
        tensors[first].view(torch.int32).view(-1)[0] ^= 1
    save_file(tensors, state, metadata={"state": json.dumps(plain)})
    train(options(tmp_path / "a.safetensors", digits))
    assert same_weights(whole, tmp_path / "a.safetensors") == (fault == "none")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "another seed"),
        ({"net": "resnet14"}, "another net"),
        ({"recipe": override_recipe(RECIPE, {"learning_rate": 0.05})}, "another recipe"),
        ({"split": "val", "val_split": "train"}, "another held-out images, images, split, val_split"),
    ],
    ids=["seed", "net", "recipe", "images"],
)
def test_a_state_of_another_run_is_refused_by_name(change, named, stopped, digits, tmp_path):
    state = copy_of(stopped, tmp_path)
    before = state.read_bytes()
    with pytest.raises(ConfigError, match=rf"unfinished run \(4 steps\) of {named}") as caught:
        train(options(tmp_path / "a.safetensors", digits, **change))
    assert "--force" in caught.value.remedy
    assert state.read_bytes() == before


@pytest.mark.usefixtures("_no_curves")
def test_force_starts_over(stopped, digits, tmp_path):
    copy_of(stopped, tmp_path)
    assert train(options(tmp_path / "a.safetensors", digits, seed=1, force=True)).resumed_from_step == 0


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_state_that_is_cut_off_is_named(share, stopped, digits, tmp_path):
    state = copy_of(stopped, tmp_path)
    state.write_bytes(state.read_bytes()[: int(state.stat().st_size * share)])
    with pytest.raises(ArtifactError, match=r"a\.state\.safetensors can not be resumed") as caught:
        train(options(tmp_path / "a.safetensors", digits))
    assert "--force" in caught.value.remedy


@pytest.mark.usefixtures("_no_curves")
def test_another_number_of_threads_resumes_and_says_so(stopped, digits, tmp_path):
    copy_of(stopped, tmp_path)
    log = Lines()
    result = train(options(tmp_path / "a.safetensors", digits, num_threads=2), progress=log)
    assert result.resumed_from_step == 4
    assert any("threads 1 -> 2" in line for line in log.lines), log.lines


@pytest.mark.usefixtures("_no_curves")
def test_a_run_goes_on_with_a_copy_of_its_images_and_says_so(stopped, digits, tmp_path):
    data = tmp_path / "copied"
    shutil.copytree(digits, data, copy_function=shutil.copyfile)  # with other times of change, as on another machine
    copy_of(stopped, tmp_path)
    log = Lines()
    assert train(options(tmp_path / "a.safetensors", data), progress=log).resumed_from_step == 4
    assert any("files of images" in line for line in log.lines), log.lines


@pytest.mark.usefixtures("_no_curves")
def test_other_images_of_the_same_classes_are_another_run(stopped, digits, tmp_path):
    data = tmp_path / "copied"
    shutil.copytree(digits, data)
    images = sorted((data / "train").rglob("*.png"))
    for first, second in itertools.pairwise(images):
        first.write_bytes(second.read_bytes())
    copy_of(stopped, tmp_path)
    with pytest.raises(ConfigError, match=r"of another images\n"):
        train(options(tmp_path / "a.safetensors", data))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_program_killed_at_a_random_time_ends_with_the_same_bits(seed, digits, tmp_path):
    """From outside and by the clock, so also while it starts, decodes and writes its last files."""
    recipe = ("--recipe", "fast-digits", "--epochs", "6", "--batch", "16", "--set", "evaluate_every=1")
    common = ("--net", "resnet8", "--data", digits, *recipe, "--threads", 1, "--save-every", 2)
    command = [sys.executable, "-m", "resnet_deploy", "train", *map(str, common)]
    began = time.perf_counter()
    subprocess.run([*command, "--out", tmp_path / "whole.safetensors"], check=True, capture_output=True)
    lasted = time.perf_counter() - began
    generator = random.Random(seed)
    for _ in range(3):
        process = subprocess.Popen([*command, "--out", tmp_path / "killed.safetensors"], stderr=subprocess.DEVNULL)
        time.sleep(lasted * generator.uniform(0.4, 1.0))
        process.kill()
        process.wait()
    subprocess.run([*command, "--out", tmp_path / "killed.safetensors"], check=True, capture_output=True)
    assert same_weights(tmp_path / "whole.safetensors", tmp_path / "killed.safetensors")
    assert rows(tmp_path / "whole.safetensors") == rows(tmp_path / "killed.safetensors")
