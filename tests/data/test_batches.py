import numpy as np
import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.batches import input_batches, paired_batches
from resnet_deploy.data.preprocess import preprocess
from tests.data.conftest import NumberedSource

SMALL = Preprocess(height_px=6, width_px=6, resize_shorter_px=8, mean=(0.5,) * 3, std=(0.25,) * 3)
AS_IT_IS = Preprocess(height_px=10, width_px=11, resize_shorter_px=None, mean=(0.1,) * 3, std=(0.5,) * 3)


def test_bad_images_are_left_out_of_their_batch():
    source, bad = NumberedSource(20, broken=(1, 8, 9, 10, 11)), BadImages(5)
    batches = list(input_batches(source, SMALL, batch_size=4, num_threads=3, bad=bad))
    assert [b.indices.tolist() for b in batches] == [[0, 2, 3], [4, 5, 6, 7], [12, 13, 14, 15], [16, 17, 18, 19]]
    for batch in batches:
        assert np.array_equal(batch.labels, source.labels[batch.indices])
        wanted = [preprocess(source.image(int(i)), SMALL) for i in batch.indices]
        assert np.array_equal(batch.images, np.stack(wanted))
    assert [b.index for b in bad] == [1, 8, 9, 10, 11]


def test_none_is_allowed_unless_said():
    with pytest.raises(DataError, match=r"^number/8\.png"):
        list(input_batches(NumberedSource(20, broken=(8,)), SMALL, batch_size=4))


def test_pairs_hold_the_same_images_though_only_one_rule_refuses_some():
    """Images of 9 px fit SMALL, which resizes, and not AS_IT_IS, which takes 10 px as they are."""
    source, bad = NumberedSource(12), BadImages(3)
    pairs = list(paired_batches(source, (SMALL, AS_IT_IS), batch_size=5, bad=bad))
    assert [b.name for b in bad] == ["number/0.png", "number/5.png", "number/10.png"]
    assert "is 12x9 px, the network's input 11x10 px" in next(iter(bad)).reason
    for ours, theirs in pairs:
        assert np.array_equal(ours.indices, theirs.indices) and np.array_equal(ours.labels, theirs.labels)
        assert np.array_equal(ours.images[-1], preprocess(source.image(int(ours.indices[-1])), SMALL))
        assert np.array_equal(theirs.images[-1], preprocess(source.image(int(ours.indices[-1])), AS_IT_IS))
    assert np.concatenate([ours.indices for ours, _ in pairs]).tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 11]


def test_an_image_is_decoded_once_for_two_rules(monkeypatch):
    source, decoded = NumberedSource(6, side=12), []
    image = source.image
    monkeypatch.setattr(source, "image", lambda index: decoded.append(index) or image(index))
    assert len(list(paired_batches(source, (SMALL, AS_IT_IS), batch_size=4))) == 2
    assert sorted(decoded) == list(range(6))
