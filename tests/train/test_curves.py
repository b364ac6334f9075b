from __future__ import annotations

import numpy as np
from PIL import Image

from resnet_deploy.train.curves import draw_curves


def _rows(final: float) -> list[dict]:
    errors = [60.0, None, 12.0, final]
    return [
        {"step": 10 * (i + 1), "train_error_percent": 70.0 - 15 * i, "val_error_percent": error}
        for i, error in enumerate(errors)
    ]


def test_curves_are_a_picture_that_depends_on_the_numbers(tmp_path):
    pictures = []
    for name, final in (("a.png", 5.0), ("b.png", 5.0), ("c.png", 14.0)):
        draw_curves(tmp_path / name, _rows(final), title="resnet8 on digits")
        pictures.append(np.asarray(Image.open(tmp_path / name).convert("RGB")))
    assert pictures[0].shape == (504, 720, 3)
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
