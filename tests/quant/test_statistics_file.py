from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError
from resnet_deploy.data.bad_images import BadImage
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.quant.statistics import Collected
from resnet_deploy.quant.statistics_file import (
    SampleKey,
    SavedStatistics,
    merge_statistics,
    read_statistics,
    sample_key,
    write_statistics,
)

KEY = SampleKey(
    network_sha256="a" * 64,
    images="6 of noise",
    fingerprint="b" * 64,
    num_images=6,
    preprocess_sha256="c" * 64,
    split="train",
    num_asked=6,
    seed=0,
    versions={"resnet-deploy": "1"},
)


def _part(positions, *, key=KEY, tensors=("x", "y"), bad=()) -> SavedStatistics:
    collected = Collected.of(tensors)
    for position in positions:
        values = np.random.default_rng(position).standard_normal(50).astype(np.float32) * np.float32(10.0**position)
        collected.tensors[tensors[0]].update(values)
        collected.tensors[tensors[1]].update(np.zeros(3, np.float32))
        collected.count_image(position, np.full((2, 2, 3), position % 4, np.uint8))
    return SavedStatistics(key=key, collected=collected, bad=tuple(bad), skip_bad=len(bad))


def _plain(saved: SavedStatistics) -> tuple:
    seen = saved.collected
    tensors = {n: (s.minimum, s.maximum, s.exponent, s.num_zeros, s.counts.tolist()) for n, s in seen.tensors.items()}
    return saved.key, tensors, seen.hashes, seen.positions, seen.num_constant, saved.bad, saved.skip_bad


BAD = BadImage(index=5, name="a/b.png", reason="cut off")


@pytest.mark.parametrize("positions", [range(5), [], [3]])
def test_a_file_gives_back_what_was_written_and_the_same_bytes(tmp_path, positions):
    saved = _part(positions, bad=[BAD])
    for name in ("a.stats", "b.stats"):
        write_statistics(saved, tmp_path / name)
    assert _plain(read_statistics(tmp_path / "a.stats")) == _plain(saved)
    assert (tmp_path / "a.stats").read_bytes() == (tmp_path / "b.stats").read_bytes()
    assert read_statistics(tmp_path / "a.stats").positions == {*positions, 5}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.permutations(range(3)))
def test_any_shards_in_any_order_merge_to_the_whole(tmp_path_factory, shard_of, order):
    folder = tmp_path_factory.mktemp("shards")
    files = []
    for shard in range(3):
        files.append(folder / f"{shard}.stats")
        write_statistics(_part([p for p in range(6) if shard_of[p] == shard]), files[-1])
    whole = merge_statistics([files[i] for i in order], network_sha256=KEY.network_sha256)
    assert _plain(whole) == _plain(_part(range(6)))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (_part([2, 3, 4, 5]), r"0\.stats and .*1\.stats overlap: 1 images are in both, the first is image 2"),
        (_part([3, 4]), r"hold 5 of the 6 images of the sample; image 5 "),
        (_part([3, 4, 5], key=replace(KEY, network_sha256="d" * 64)), r"1\.stats was made with the network .* dddddd"),
        (_part([3, 4, 5], key=replace(KEY, fingerprint="d" * 64)), "fingerprint is 'dddd"),
        (_part([3, 4, 5], key=replace(KEY, preprocess_sha256="d" * 64)), "preprocess_sha256 is 'dddd"),
        (_part([3, 4, 5], key=replace(KEY, seed=3)), "seed is 3, not 0"),
        (_part([3, 4, 5], key=replace(KEY, versions={"resnet-deploy": "2"})), "versions is .*'2'"),
        (_part([3, 4, 5], tensors=("x", "z")), "other tensors"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(tmp_path, second, message):
    write_statistics(_part([0, 1, 2]), tmp_path / "0.stats")
    write_statistics(second, tmp_path / "1.stats")
    with pytest.raises(ArtifactMismatchError, match=message):
        merge_statistics([tmp_path / "0.stats", tmp_path / "1.stats"], network_sha256=KEY.network_sha256)


def test_an_unusable_image_counts_as_done(tmp_path):
    write_statistics(_part([0, 1, 2]), tmp_path / "0.stats")
    write_statistics(_part([3, 4], bad=[BAD]), tmp_path / "1.stats")
    whole = merge_statistics([tmp_path / "1.stats", tmp_path / "0.stats"], network_sha256=KEY.network_sha256)
    assert (whole.bad, whole.skip_bad, whole.collected.num_images) == ((BAD,), 1, 5)


def test_unusable_files_are_refused_by_name(tmp_path):
    file = tmp_path / "x.stats"
    with pytest.raises(ArtifactError, match=r"x\.stats: no such statistics file"):
        read_statistics(file)
    write_statistics(_part([1]), file)
    whole = file.read_bytes()
    for broken in (b"", whole[:100], whole[:-1], b"{}" * 50):
        file.write_bytes(broken)
        with pytest.raises(ArtifactError, match=r"x\.stats is not a statistics file, or is cut off"):
            read_statistics(file)
    flipped = bytearray(whole)
    flipped[-200] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        read_statistics(file)
    save_file({"a": np.zeros(1)}, file)
    with pytest.raises(ArtifactError, match="schema is None, expected 'resnet-deploy/statistics/1'"):
        read_statistics(file)
    save_file(
        {"a": np.zeros(1)}, file, metadata={"resnet-deploy": json.dumps({"schema": "resnet-deploy/statistics/9"})}
    )
    with pytest.raises(ArtifactError, match="statistics/9"):
        read_statistics(file)


def test_the_key_tells_samples_and_preprocessings_apart():
    preprocess = find_net("resnet8").preprocess
    options = {"network_sha256": "a" * 64, "split": "train", "num_asked": 4, "seed": 0}

    def key(seed, preprocess):
        return sample_key(stratified_sample(open_images("noise"), 4, seed=seed), preprocess, **options)

    first = key(0, preprocess)
    assert key(0, preprocess) == first
    assert key(1, preprocess).fingerprint != first.fingerprint
    assert key(0, replace(preprocess, mean=(0.1, 0.2, 0.3))).preprocess_sha256 != first.preprocess_sha256
    assert {"resnet-deploy", "onnxruntime"} <= first.versions.keys()
