from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.classes import map_classes


class Named:
    """Three images, one a class."""

    description = "photos/val"
    labels = np.arange(3)

    def __init__(self, *classes):
        self.classes = classes

    def __len__(self):
        return 3


def test_classes_are_matched_by_name_whatever_their_order():
    found = map_classes(Named("cat", "dog", "owl"), ("owl", "cat", "dog"), 3, file="net.onnx")
    assert found.to_output.tolist() == [1, 2, 0] and "matched by name" in found.note


def test_classes_of_which_none_is_known_to_the_network_are_refused_with_both_sides_names():
    with pytest.raises(DataError, match=r"photos/val \('cat', 'dog', 'owl'\).*net\.onnx.*\('car', 'ship', 'truck'\)"):
        map_classes(Named("cat", "dog", "owl"), ("car", "ship", "truck"), 3, file="net.onnx")
    with pytest.raises(DataError, match="'0', '1', '2'"):  # digits are not cars
        map_classes(Named("0", "1", "2"), ("car", "ship", "truck"), 3, file="net.onnx")


def test_one_known_name_is_enough_and_the_others_are_noted():
    found = map_classes(Named("cat", "dog", "owl"), ("cat", "ship", "truck"), 3, file="net.onnx")
    assert found.to_output.tolist() == [0, 1, 2] and "2 of 3 class names" in found.note and "'dog'" in found.note


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("cat", "dog", "owl"), ("class_0000", "class_0001", "class_0002")),  # as `import` names what it does not know
        (("n01440764", "n01443537", "n01484850"), ("tench", "goldfish", "great white shark")),  # ImageNet's folders
    ],
)
def test_numbers_that_only_stand_for_an_order_are_taken_in_it_and_noted(classes, labels):
    found = map_classes(Named(*classes), labels, 3, file="net.onnx")
    assert found.to_output.tolist() == [0, 1, 2] and "3 of 3 class names" in found.note
