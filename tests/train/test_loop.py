from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, DataError, MissingDependencyError, TrainError
from resnet_deploy.nets.checkpoint import load_checkpoint
from resnet_deploy.train.loop import train
from resnet_deploy.train.options import TrainOptions
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from resnet_deploy.train.step import StepSettings

RECIPE = override_recipe(load_recipe("fast-digits"), {"epochs": 4, "batch_size": 16, "evaluate_every": 1})


class Watcher:
    """Collects log lines; may stop the run as Ctrl-C would, in the middle of an epoch."""

    def __init__(self, stop_at_step: int | None = None) -> None:
        self.lines: list[str] = []
        self.begun: list[str] = []
        self.steps, self.stop_at_step, self.training = 0, stop_at_step, False

    def start(self, description: str, total: int | None) -> None:
        self.begun.append(description)
        self.training = description.startswith("training")

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        if self.training:
            self.steps += steps
            if self.steps == self.stop_at_step:
                raise KeyboardInterrupt

    def log(self, message: str) -> None:
        self.lines.append(message)


def options(out: Path, data: Path | str, recipe: Recipe = RECIPE, **changes) -> TrainOptions:
    return TrainOptions(out=out, data=str(data), net="resnet8", recipe=recipe, num_threads=1, **changes)


@pytest.fixture(scope="module")
def finished(digit_folder, tmp_path_factory):
    """An uninterrupted run of four epochs of four steps."""
    out = tmp_path_factory.mktemp("finished") / "a.safetensors"
    return train(options(out, digit_folder))


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


def interrupt(out: Path, data: Path, *, stop_at_step: int = 10, **changes) -> Path:
    """Stop in epoch 3 of 4; returns the state file, which then holds two epochs."""
    with pytest.raises(KeyboardInterrupt):
        train(options(out, data, **changes), progress=Watcher(stop_at_step))
    assert not out.exists()
    return out.with_name(f"{out.stem}.state.safetensors")


def test_files_and_records_of_a_run(finished):
    folder = finished.file.parent
    assert sorted(p.name for p in folder.iterdir()) == [
        "a.curves.png", "a.metrics.jsonl", "a.recipe.toml", "a.safetensors", "a.safetensors.json",
    ]  # fmt: skip
    rows = [json.loads(line) for line in finished.metrics_file.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [4, 8, 12, 16]
    assert set(rows[0]) == {
        "epoch", "step", "train_loss", "train_error_percent", "val_error_percent", "learning_rate",
        "images_per_second", "seconds",
    }  # fmt: skip
    assert finished.top1_percent == pytest.approx(100 - rows[-1]["val_error_percent"])
    assert Image.open(finished.curves_file).size[0] > 0
    manifest = read_manifest(finished.file, kind="checkpoint")
    assert manifest.options["recipe"]["epochs"] == 4
    assert load_recipe(folder / "a.recipe.toml") == RECIPE
    assert manifest.net is not None and manifest.net.name == "resnet8"
    assert manifest.labels == tuple("0123456789")
    assert {record.role for record in manifest.inputs} == {"images", "held-out images"}


def test_reported_accuracy_is_that_of_the_written_checkpoint(finished, digit_folder):
    from resnet_deploy.data.batches import input_batches
    from resnet_deploy.data.source import open_images

    checkpoint, source = load_checkpoint(finished.file), open_images(str(digit_folder), split="val")
    right = 0
    with torch.inference_mode():
        for batch in input_batches(source, checkpoint.manifest.preprocess, batch_size=7):
            right += int((checkpoint.net(torch.from_numpy(batch.images)).argmax(1).numpy() == batch.labels).sum())
    assert 100 * right / 30 == pytest.approx(finished.top1_percent)


def test_training_learns(digit_folder, tmp_path):
    recipe = override_recipe(RECIPE, {"epochs": 15, "crop_padding_px": 0, "rotate_degrees": 0, "scale_fraction": 0})
    result = train(options(tmp_path / "a.safetensors", digit_folder, recipe))
    # 64 unaugmented images and 78,000 weights: a net that learns knows most of them; chance is 10 % right
    rows = [json.loads(line) for line in result.metrics_file.read_text().splitlines()]
    assert rows[-1]["train_error_percent"] < 20
    assert result.top1_percent > 50


def test_the_same_options_give_the_same_bits_and_another_seed_others(finished, digit_folder, tmp_path):
    again = train(options(tmp_path / "b.safetensors", digit_folder))
    assert same_weights(finished.file, again.file)
    other = train(options(tmp_path / "c.safetensors", digit_folder, seed=1))
    assert not same_weights(finished.file, other.file)


def test_an_interrupted_run_resumes_to_the_same_bits(finished, digit_folder, tmp_path):
    state = interrupt(tmp_path / "b.safetensors", digit_folder)
    watcher = Watcher()
    result = train(options(tmp_path / "b.safetensors", digit_folder), progress=watcher)
    assert "resuming after step 8" in watcher.lines
    assert result.resumed_from_step == 8
    assert same_weights(finished.file, result.file)
    assert not state.exists()
    assert len(result.metrics_file.read_text().splitlines()) == 4


def test_momentum_is_part_of_the_state(finished, digit_folder, tmp_path):
    """A planted fault: the comparison above must notice a state without its momentum."""
    state = interrupt(tmp_path / "b.safetensors", digit_folder)
    from safetensors import safe_open

    with safe_open(state, framework="pt") as file:
        metadata, names = file.metadata(), file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
    momentum = {k.removeprefix("momentum/"): v for k, v in tensors.items() if k.startswith("momentum/")}
    weights = {k: v for k, v in tensors.items() if not k.startswith("momentum/")}
    save_file(weights, state, metadata=metadata)
    with pytest.raises(ArtifactError, match="only one of them has 'momentum/"):
        train(options(tmp_path / "b.safetensors", digit_folder))
    zeros = {f"momentum/{name}": torch.zeros_like(value) for name, value in momentum.items()}
    save_file(weights | zeros, state, metadata=metadata)
    result = train(options(tmp_path / "b.safetensors", digit_folder))
    assert result.resumed_from_step == 8
    assert not same_weights(finished.file, result.file)


def test_a_state_between_two_epochs_resumes_to_the_same_bits_and_rows(finished, digit_folder, tmp_path):
    out = tmp_path / "b.safetensors"
    interrupt(out, digit_folder, stop_at_step=10, save_every=3)
    result = train(options(out, digit_folder, save_every=3))
    assert result.resumed_from_step == 9
    assert same_weights(finished.file, result.file)
    assert measured(result.metrics_file) == measured(finished.metrics_file)


def measured(path: Path) -> list[dict]:
    """The rows of a metrics file without times."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def test_the_state_of_another_run_is_not_overwritten(digit_folder, tmp_path):
    out = tmp_path / "b.safetensors"
    state = interrupt(out, digit_folder)
    before = state.read_bytes()
    with pytest.raises(ConfigError, match=r"unfinished run \(8 steps\) of another seed") as info:
        train(options(out, digit_folder, seed=1))
    assert "--force" in (info.value.remedy or "")
    assert state.read_bytes() == before


def test_a_state_that_is_cut_off_says_so(digit_folder, tmp_path):
    out = tmp_path / "b.safetensors"
    state = interrupt(out, digit_folder)
    state.write_bytes(state.read_bytes()[:3000])
    with pytest.raises(ArtifactError, match="can not be resumed"):
        train(options(out, digit_folder))


def test_force_starts_over(finished, digit_folder, tmp_path):
    out = tmp_path / "b.safetensors"
    interrupt(out, digit_folder)
    result = train(options(out, digit_folder, force=True))
    assert result.resumed_from_step == 0
    assert same_weights(finished.file, result.file)


def test_another_way_to_compute_resumes_and_is_told(digit_folder, tmp_path):
    out = tmp_path / "b.safetensors"
    interrupt(out, digit_folder)
    watcher = Watcher()
    result = train(options(out, digit_folder, how=StepSettings(accumulate=2)), progress=watcher)
    assert result.resumed_from_step == 8
    assert any("last bits may differ" in line and "accumulate 1 -> 2" in line for line in watcher.lines)


def test_an_up_to_date_checkpoint_is_not_trained_again(finished, digit_folder):
    before = finished.file.stat().st_mtime_ns
    again = train(options(finished.file, digit_folder))
    assert again.skipped and not finished.skipped
    assert again.top1_percent == finished.top1_percent
    assert finished.file.stat().st_mtime_ns == before


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_old_checkpoint(digit_folder, tmp_path):
    out = tmp_path / "a.safetensors"
    train(options(out, digit_folder))
    before = out.read_bytes()
    wild = override_recipe(RECIPE, {"learning_rate": 1e30, "warmup_fraction": 0.0})
    message = r"the loss is (nan|inf) at step \d of 16 \(epoch 1\), at learning rate .*e\+"
    with pytest.raises(TrainError, match=message) as info:
        train(options(out, digit_folder, wild))
    assert "--lr" in (info.value.remedy or "")
    assert out.read_bytes() == before


def test_the_last_good_weights_become_a_checkpoint_to_start_from(digit_folder, tmp_path):
    out = tmp_path / "a.safetensors"
    late = override_recipe(RECIPE, {"schedule": "cosine", "warmup_fraction": 0.9, "learning_rate": 1e12})
    with pytest.raises(TrainError, match=r"the loss is (nan|inf)|is not finite after step") as info:
        train(options(out, digit_folder, late, save_every=1))
    good = tmp_path / "a.last-good.safetensors"
    assert good.name in (info.value.remedy or "")
    assert not out.exists()
    steps = read_manifest(good).details["steps"]
    assert steps >= 1
    assert load_checkpoint(good).spec.name == "resnet8"  # refuses weights that are not finite


def test_steps_may_end_inside_an_epoch(digit_folder, tmp_path):
    result = train(options(tmp_path / "a.safetensors", digit_folder, override_recipe(RECIPE, {"steps": 6})))
    assert (result.steps, result.epochs) == (6, 1.5)
    assert [row["step"] for row in measured(result.metrics_file)] == [4, 6]
    assert math.isfinite(result.top1_percent)


def test_fewer_images_than_a_batch_make_one_batch(digit_folder, tmp_path):
    recipe = override_recipe(RECIPE, {"batch_size": 500, "epochs": 1})
    assert train(options(tmp_path / "a.safetensors", digit_folder, recipe)).steps == 1


def test_a_batch_that_can_not_be_split_is_refused(digit_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"batch_size 16 \(of 64 images\) over 3 parts does not") as caught:
        train(options(tmp_path / "a.safetensors", digit_folder, how=StepSettings(accumulate=3)))
    assert caught.value.remedy == "take --batch 15, say"
    works = override_recipe(RECIPE, {"batch_size": 15, "steps": 1})
    assert train(options(tmp_path / "a.safetensors", digit_folder, works, how=StepSettings(accumulate=3))).steps == 1
    with pytest.raises(ConfigError, match="over 40 parts") as caught:
        train(options(tmp_path / "a.safetensors", digit_folder, how=StepSettings(accumulate=40)))
    assert caught.value.remedy == "take 32 parts or fewer, all processes together"  # 64 images, 2 in each


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"how": StepSettings(amp="fp16")}, MissingDependencyError, "fp16 training needs a CUDA device"),
        ({"how": StepSettings(accumulate=3)}, ConfigError, "over 3 parts"),
        ({"out": "a file/a.safetensors"}, ArtifactError, r"a\.safetensors can not be written: a part of its path"),
    ],
)
def test_what_can_be_known_before_is_said_before_any_image_is_decoded(digit_folder, tmp_path, change, error, says):
    if "amp" in str(change) and torch.cuda.is_available():
        pytest.skip("a CUDA device is here, so fp16 can be trained")
    (tmp_path / "a file").touch()
    out = tmp_path / change.pop("out", "new/a.safetensors")
    watcher = Watcher()
    with pytest.raises(error, match=says):
        train(options(out, digit_folder, **change), progress=watcher)
    assert not watcher.begun
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a file"]


def test_starting_weights_are_taken_and_the_classifier_only_for_the_same_classes(finished, digit_folder, tmp_path):
    still = override_recipe(load_recipe("finetune"), {"learning_rate": 1e-30, "epochs": 1, "area_range": []})
    same = train(options(tmp_path / "same.safetensors", digit_folder, still, weights=finished.file))
    first, then = load_file(finished.file), load_file(same.file)
    for key in first:
        if "running" not in key and "batches" not in key:  # BN's statistics follow the images, whatever the rate
            torch.testing.assert_close(then[key], first[key], rtol=0, atol=1e-20)
    other = tmp_path / "other"
    for split in ("train", "val"):
        for label in range(5):
            (other / split / f"class{label}").mkdir(parents=True)
            for image in sorted((digit_folder / split / str(label)).iterdir()):
                (other / split / f"class{label}" / image.name).write_bytes(image.read_bytes())
    five = train(options(tmp_path / "five.safetensors", other, still, weights=finished.file))
    then = load_file(five.file)
    assert then["fc.weight"].shape == (5, 64)
    torch.testing.assert_close(then["conv1.weight"], first["conv1.weight"], rtol=0, atol=1e-20)
    with pytest.raises(ConfigError, match="holds a resnet8, resnet14 was asked for"):
        train(
            TrainOptions(
                out=tmp_path / "x.safetensors", recipe=still, net="resnet14", data=str(other), weights=finished.file
            )
        )


def test_the_mean_image_travels_with_the_weights(digit_folder, tmp_path):
    from resnet_deploy.data.batches import input_batches
    from resnet_deploy.data.source import open_images

    recipe = override_recipe(RECIPE, {"per_pixel_mean": True, "epochs": 1})
    result = train(options(tmp_path / "a.safetensors", digit_folder, recipe))
    checkpoint = load_checkpoint(result.file)
    spec = checkpoint.manifest.preprocess
    batch = next(input_batches(open_images(str(digit_folder), split="train"), spec, batch_size=64))
    # float32 rounding of the normalised inputs, of size up to 5, against a mean computed in float64: a few 1e-7 each
    torch.testing.assert_close(
        checkpoint.net.center.mean_image, torch.from_numpy(batch.images.mean(axis=0, dtype="float64")).float(),
        rtol=0, atol=2e-6,
    )  # fmt: skip


def test_moving_average_is_what_is_kept_and_differs_from_the_weights(finished, digit_folder, tmp_path):
    recipe = override_recipe(RECIPE, {"ema_decay": 0.9})
    averaged = train(options(tmp_path / "a.safetensors", digit_folder, recipe))
    assert not same_weights(finished.file, averaged.file)


def test_images_that_can_not_be_decoded_are_named_or_left_out_as_allowed(digit_folder, tmp_path):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(digit_folder, data)
    broken = data / "train" / "3" / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3/broken\.png"):
        train(options(tmp_path / "a.safetensors", data))
    result = train(options(tmp_path / "a.safetensors", data, skip_bad=1))
    assert result.num_train_images == 64
    assert len(result.bad_images) == 1 and "broken.png" in result.bad_images[0]


def test_tensorboard_without_the_package_says_what_to_install(digit_folder, tmp_path):
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="TensorBoard"):
            train(options(tmp_path / "a.safetensors", digit_folder, tensorboard=tmp_path / "board"))
    else:
        train(options(tmp_path / "a.safetensors", digit_folder, tensorboard=tmp_path / "board"))
        assert any((tmp_path / "board").iterdir())


def test_images_that_can_not_be_trained_on_are_refused(digit_folder, tmp_path):
    out = tmp_path / "a.safetensors"
    with pytest.raises(ConfigError, match="12 classes were asked for.*has 10"):
        train(options(out, digit_folder, num_classes=12))
    with pytest.raises(DataError, match="noise has no labels"):
        train(options(out, "noise"))
    with pytest.raises(DataError, match="nothing is held out"):
        train(options(out, digit_folder / "train"))
    with pytest.raises(DataError, match="nothing is held out"):
        train(options(out, digit_folder, val_split="train"))
    with pytest.raises(DataError, match="no such folder"):
        train(options(out, tmp_path / "none"))
    for name in ("train/a", "train/b", "val/a", "val/c"):
        (tmp_path / "odd" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "odd" / name / "x.png")
    with pytest.raises(DataError, match="'b'"):
        train(options(out, tmp_path / "odd"))
    with pytest.raises(ConfigError, match=r"a\.pth must end in \.safetensors"):
        options(tmp_path / "a.pth", digit_folder)
    assert not out.exists()


@pytest.mark.slow
def test_the_default_recipe_reaches_98_percent_on_the_held_out_digits(tmp_path):
    result = train(TrainOptions(out=tmp_path / "resnet20.safetensors", recipe=load_recipe("fast-digits")))
    assert result.num_val_images == 599
    assert result.top1_percent >= 98.0
