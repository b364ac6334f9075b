"""The nets in models/ are what their cards say."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.nets.checkpoint import load_checkpoint
from resnet_deploy.train.recipe_book import load_recipe
from resnet_deploy.verify.evaluate import EvaluateOptions, evaluate

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = sorted((ROOT / "models").glob("*/*.safetensors"))
IMAGES = ROOT.parent / "shared" / "data" / "cifar10-jpeg"


def test_there_is_a_zoo():
    assert CHECKPOINTS


@pytest.mark.parametrize("file", CHECKPOINTS, ids=lambda file: file.parent.name)
def test_a_net_of_the_zoo_is_whole_small_and_described(file):
    checkpoint = load_checkpoint(file)  # refuses a file that is not its manifest's, or not its net's
    assert file.stat().st_size < 4_000_000
    card = (file.parent / "README.md").read_text()
    error = 100 - checkpoint.manifest.details["top1_percent"]
    assert f"| {error:.2f} % |" in card
    assert checkpoint.manifest.sha256 in card
    assert "lossy JPEG" in card
    recipe = load_recipe(file.with_name(f"{file.stem}.recipe.toml"))
    assert recipe.name == checkpoint.manifest.options["recipe"]["name"]
    index = (ROOT / "models" / "README.md").read_text()
    assert f"[{file.parent.name}]({file.parent.name}/README.md)" in index and f"| {error:.2f} |" in index


@pytest.mark.slow
@pytest.mark.parametrize("file", CHECKPOINTS, ids=lambda file: file.parent.name)
def test_a_net_of_the_zoo_scores_what_its_card_says(file):
    if not IMAGES.is_dir():
        pytest.skip("../shared/data/cifar10-jpeg is not there")
    scored = evaluate(EvaluateOptions(files=(file,), data=str(IMAGES), split="test", num_threads=1))
    # another order of float32 sums may turn an image whose two best logits are equal to 1e-5: one in 10,000 at most
    assert scored.top1_percent == pytest.approx(load_checkpoint(file).manifest.details["top1_percent"], abs=0.011)
