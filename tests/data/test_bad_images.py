import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.bad_images import BadImage, BadImages


def bad(index, name=None):
    return BadImage(index=index, name=name or f"{index}.jpg", reason="planted")


def test_the_first_one_beyond_none_is_named():
    with pytest.raises(DataError, match=r"^7\.jpg: planted") as caught:
        BadImages().add(bad(7))
    assert "--skip-bad" in caught.value.remedy


def test_up_to_the_limit_is_counted_and_one_more_lists_all():
    found = BadImages(2)
    found.take([bad(9), bad(2)])
    assert [b.index for b in found] == [2, 9] and len(found) == 2
    with pytest.raises(
        DataError, match=r"3 images can not be used so far, 2 were allowed:\n  2\.jpg.*\n  5\.jpg.*\n  9"
    ):
        found.add(bad(5))


def test_a_name_counts_once():
    found = BadImages(1)
    assert found.add(bad(3)) is True
    assert found.add(bad(3)) is False  # the next epoch, or another sample of the same set
    assert found.add(bad(0, name="3.jpg")) is False
    assert len(found) == 1


def test_a_long_list_is_cut():
    found = BadImages(30)
    with pytest.raises(DataError, match="31 images can not be used so far, 30 were allowed") as caught:
        found.take(bad(i) for i in range(40))
    assert caught.value.message.endswith("\n  and 11 more") and caught.value.message.count("\n") == 21


def test_the_reason_does_not_repeat_the_name():
    error = DataError("x/y.jpg: can not be decoded (cut)")
    assert str(BadImage.of(4, "x/y.jpg", error)) == "x/y.jpg: can not be decoded (cut)"
    assert BadImage.of(4, "x/y.jpg", error).reason == "can not be decoded (cut)"
