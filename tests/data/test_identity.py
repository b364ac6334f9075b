from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.data.identity import sample_identity
from resnet_deploy.data.source import open_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(100):
        file = tmp_path / "set" / f"class{index % 2}" / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).save(file)
    return tmp_path / "set"


def test_a_copy_elsewhere_with_other_times_is_the_same_set(folder: Path, tmp_path: Path) -> None:
    before = sample_identity(open_images(str(folder)))
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    os.utime(folder / "class0" / "0.png", (1, 1))
    assert sample_identity(open_images(str(tmp_path / "copy"))) == before == sample_identity(open_images(str(folder)))


@pytest.mark.parametrize("fault", ["fewer", "label", "pixel", "shape", "class name"])
def test_another_set_is_another(folder: Path, fault: str) -> None:
    before = sample_identity(open_images(str(folder)))
    first = folder / "class0" / "0.png"  # the first and the last image are always among those looked at
    pixels = np.array(Image.open(first))
    if fault == "fewer":
        (folder / "class1" / "51.png").unlink()
    elif fault == "label":
        (folder / "class1" / "51.png").rename(folder / "class0" / "51.png")
    elif fault == "pixel":
        pixels[1, 2, 0] ^= 1
        Image.fromarray(pixels).save(first)
    elif fault == "shape":
        Image.fromarray(pixels.reshape(5, 4, 3)).save(first)
    else:
        (folder / "class1").rename(folder / "class2")
    assert sample_identity(open_images(str(folder))) != before


def test_an_image_that_can_not_be_decoded_is_part_of_the_set(folder: Path) -> None:
    (folder / "class0" / "0.png").write_bytes(b"no image")
    assert sample_identity(open_images(str(folder))) == sample_identity(open_images(str(folder)))
