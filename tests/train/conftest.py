"""A hundred digits as an image folder: small enough to train on in a second."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from resnet_deploy.data.source import open_images, stratified_sample


@pytest.fixture(scope="session")
def digit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ with 64 and val/ with 30 digits of the classes 0 to 9, 8 px PNG files."""
    root = tmp_path_factory.mktemp("digits")
    for split, count in (("train", 64), ("val", 30)):
        source = stratified_sample(open_images("digits", split=split), count, seed=0)
        for index in range(len(source)):
            folder = root / split / source.classes[source.labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.image(index)).save(folder / f"{index:03d}.png")
    return root
