from __future__ import annotations

import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.building.options import BatchProfile, SizeProfile, parse_batch_profiles, parse_size_profile


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        (["1:8:32"], [(1, 8, 32)]),
        (["1,8,32"], [(1, 1, 1), (8, 8, 8), (32, 32, 32)]),
        (["1", "2:4:8"], [(1, 1, 1), (2, 4, 8)]),
        ([" 1 : 8 : 32 "], [(1, 8, 32)]),
    ],
)
def test_batch_profiles_are_ranges_or_single_sizes(texts: list[str], sizes: list[tuple[int, int, int]]) -> None:
    assert [(p.min, p.opt, p.max) for p in parse_batch_profiles(texts)] == sizes


@pytest.mark.parametrize("text", ["", "1:8", "1:2:3:4", "a", "1:b:3", "-1", "1.5", "8:4:2", "0"])
def test_what_is_no_batch_profile_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="profile"):
        parse_batch_profiles([text])


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("224", ((224, 224),) * 3),
        ("480x640", ((480, 640),) * 3),
        ("224:256:448", ((224, 224), (256, 256), (448, 448))),
        ("224x320:256:448X640", ((224, 320), (256, 256), (448, 640))),
    ],
)
def test_image_sizes_are_one_or_a_range(text: str, sizes: tuple) -> None:
    if text.startswith("224x320"):  # 256 < 320 wide
        with pytest.raises(ConfigError, match="224x320:256x256:448x640"):
            parse_size_profile(text)
        return
    assert parse_size_profile(text) == SizeProfile(min=sizes[0], opt=sizes[1], max=sizes[2])


@pytest.mark.parametrize("text", ["", "224:448", "224x", "x224", "1x2x3", "big", "448:256:224", "0"])
def test_what_is_no_image_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="size"):
        parse_size_profile(text)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (2, 1, 4), (1, 5, 4)])
def test_wrong_batch_profiles_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="batch profile {}:{}:{}".format(*sizes)):
        BatchProfile(min=sizes[0], opt=sizes[1], max=sizes[2])
