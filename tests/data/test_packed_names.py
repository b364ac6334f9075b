import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.packed_names import ClassFolders, PackedNames

# What a file system can hold: any bytes but NUL, as Python shows them.
NAMES = st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\0", b"").decode("utf-8", "surrogateescape")))


@given(NAMES)
def test_round_trip(names):
    packed = PackedNames()
    for name in names:
        packed.append(name)
    text, ends = packed.arrays()
    restored = PackedNames(text.tobytes(), ends)
    assert list(packed) == list(restored) == names
    assert [packed[i] for i in range(len(packed))] == names


@given(st.lists(st.text(alphabet="ab/é☃ .", max_size=4)))
def test_order_is_that_of_sorted(names):
    packed = PackedNames()
    for name in names:
        packed.append(name)
    order = packed.sorted_order()
    assert list(packed.take(order)) == sorted(names)
    assert sorted(order.tolist()) == list(range(len(names)))


def test_out_of_range():
    with pytest.raises(IndexError, match="name 0 of 0"):
        PackedNames()[0]


def classes_of(*paths):
    folders = ClassFolders()
    for path in paths:
        folders.add(path)
    classes, labels = folders.finish("here")
    return classes, labels.tolist()


def test_the_class_is_the_innermost_folder_in_sorted_order():
    assert classes_of("x/dog/1.png", "cat/2.png", "y/dog/3.png") == (("cat", "dog"), [1, 0, 1])


def test_without_folders_there_are_no_labels():
    assert classes_of("1.png", "2.png") == ((), [-1, -1])


def test_a_stray_image_is_named():
    with pytest.raises(DataError, match=r"here: 2\.png lies beside the class folders"):
        classes_of("cat/1.png", "2.png")


def test_labels_are_numpy_int64():
    folders = ClassFolders()
    folders.add("a/b.png")
    assert folders.finish("here")[1].dtype == np.int64
