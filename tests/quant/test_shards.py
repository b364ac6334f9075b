from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, DataError
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
from resnet_deploy.quant.shards import MergeOptions, Shard, ShardOptions, collect_shard, merge_shards


def _shards(exported, folder, count, **options):
    return tuple(
        collect_shard(
            ShardOptions(
                onnx=exported,
                data="noise",
                num_images=9,
                shard=Shard(number=k, count=count),
                out=folder / f"{k}.stats",
                **options,
            )
        ).file
        for k in range(1, count + 1)
    )


@pytest.mark.parametrize(
    ("method", "data"), [("entropy", None), ("percentile:99.9", None), ("auto", "noise")], ids=lambda value: value
)
def test_the_table_of_shards_is_that_of_one_pass(exported, tmp_path, method, data):
    plain = calibrate(
        CalibrateOptions(onnx=exported, data="noise", num_images=9, method=method, out=tmp_path / "plain.json")
    ).file
    one, two = _shards(exported, tmp_path, 2)
    merged = tmp_path / "merged.json"
    result = merge_shards(MergeOptions(onnx=exported, statistics=(two, one), method=method, data=data, out=merged))
    assert merged.read_bytes() == plain.read_bytes()
    assert (result.num_images, result.num_distinct) == (9, 9)
    first, second = (read_manifest(file, kind="calibration") for file in (plain, merged))
    assert (first.inputs, first.options, first.details) == (second.inputs, second.options, second.details)
    again = calibrate(CalibrateOptions(onnx=exported, data="noise", num_images=9, method=method, out=merged))
    assert again.skipped


def test_a_finished_shard_is_not_made_again(exported, tmp_path):
    options = {"onnx": exported, "data": "noise", "num_images": 3, "out": tmp_path / "s.stats"}
    shard = Shard(number=1, count=2)
    assert not collect_shard(ShardOptions(**options, shard=shard)).skipped
    assert collect_shard(ShardOptions(**options, shard=shard)).skipped
    assert not collect_shard(ShardOptions(**options, shard=shard, force=True)).skipped
    assert not collect_shard(ShardOptions(**options, shard=Shard(number=2, count=2))).skipped
    (tmp_path / "s.stats").write_bytes(b"half")
    assert not collect_shard(ShardOptions(**options, shard=shard)).skipped


def test_shards_of_another_network_or_not_all_of_them_are_refused(exported, tmp_path):
    one, two = _shards(exported, tmp_path, 2)
    other = export_onnx(ExportOptions(net="resnet8", seed=9, out=tmp_path / "other.fp32.onnx")).file
    with pytest.raises(ArtifactMismatchError, match="was made with the network"):
        merge_shards(MergeOptions(onnx=other, statistics=(one, two)))
    with pytest.raises(ArtifactMismatchError, match="hold 5 of the 9 images"):
        merge_shards(MergeOptions(onnx=exported, statistics=(one,), out=tmp_path / "t.json"))
    with pytest.raises(ArtifactError, match="no such statistics file"):
        merge_shards(MergeOptions(onnx=exported, statistics=(tmp_path / "3.stats",), out=tmp_path / "t.json"))
    assert not (tmp_path / "t.json").exists()


def test_unusable_images_of_all_shards_count_together(exported, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i in range(6):
        file = tmp_path / "images" / f"{i}.png"
        Image.effect_noise((40, 32), 60 + i).save(file)
        if i < 2:
            file.write_bytes(file.read_bytes()[:80])
    options = {"onnx": exported, "data": str(tmp_path / "images"), "num_images": 6}

    def files(allowed):
        return tuple(
            collect_shard(
                ShardOptions(
                    **options, skip_bad=allowed, shard=Shard(number=k, count=2), out=tmp_path / f"{allowed}.{k}.stats"
                )
            ).file
            for k in (1, 2)
        )

    with pytest.raises(DataError, match="2 images can not be used so far, 1 were allowed"):
        merge_shards(MergeOptions(onnx=exported, statistics=files(1), out=tmp_path / "t.json"))
    result = merge_shards(MergeOptions(onnx=exported, statistics=files(2), out=tmp_path / "t.json"))
    assert result.num_images == 4 and len(result.bad_images) == 2
    assert calibrate(CalibrateOptions(**options, method="entropy", skip_bad=2, out=tmp_path / "t.json")).skipped


def test_auto_of_shards_wants_the_images_that_they_were_made_from(exported, tmp_path):
    shards = _shards(exported, tmp_path, 2)
    with pytest.raises(ConfigError, match="method auto looks at the images again, which shards do not hold"):
        MergeOptions(onnx=exported, statistics=shards, method="auto")
    with pytest.raises(ConfigError, match="method max needs no images, so data noise has no effect"):
        MergeOptions(onnx=exported, statistics=shards, method="max", data="noise")
    other = MergeOptions(onnx=exported, statistics=shards, method="auto", data="digits", out=tmp_path / "t.json")
    with pytest.raises(ArtifactMismatchError, match=r"digits does not hold the images .* made from \(9 of "):
        merge_shards(other)
    assert not (tmp_path / "t.json").exists()


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/2/3"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ConfigError, match=f"shard '?{text}"):
        Shard.of(text)


def test_shards_take_every_image_once(exported):
    taken = [position for k in range(1, 5) for position in Shard.of(f"{k}/4").positions(10)]
    assert sorted(taken) == list(range(10))
    with pytest.raises(ConfigError, match="shard 5/5 is empty: the sample has 4 images"):
        collect_shard(ShardOptions(onnx=exported, data="noise", num_images=4, shard=Shard(number=5, count=5)))


def test_merging_nothing_is_refused():
    with pytest.raises(ConfigError, match="no statistics file"):
        MergeOptions(onnx=Path("a.onnx"), statistics=())


def test_an_interrupted_calibration_goes_on_where_it_was(exported, tmp_path, monkeypatch):
    """The plain run and the interrupted one give the same bytes, and no image is read twice."""
    from resnet_deploy.data.noise import NoiseSource

    options = {"onnx": exported, "data": "noise", "num_images": 8, "num_threads": 1}
    expected = calibrate(CalibrateOptions(**options, method="entropy", out=tmp_path / "plain.json")).file.read_bytes()
    read, image = [], NoiseSource.image

    def image_until(self, index, last=5):
        if len(read) == last:
            raise KeyboardInterrupt
        read.append(index)
        return image(self, index)

    monkeypatch.setattr(NoiseSource, "image", image_until)
    out = tmp_path / "t.calib.json"
    with pytest.raises(KeyboardInterrupt):
        calibrate(CalibrateOptions(**options, method="entropy", out=out))
    assert (tmp_path / "t.calib.partial").is_file() and not out.exists()
    monkeypatch.setattr(NoiseSource, "image", lambda self, index: read.append(index) or image(self, index))
    assert calibrate(CalibrateOptions(**options, method="entropy", out=out)).file.read_bytes() == expected
    assert len(read) == 8 == len(set(read))
    assert not (tmp_path / "t.calib.partial").exists()


def test_unfinished_work_of_another_sample_is_not_used(exported, tmp_path):
    out = tmp_path / "t.calib.json"
    (shard,) = _shards(exported, tmp_path, 1)  # of 9 images; the pass below has 8
    (tmp_path / "t.calib.partial").write_bytes(shard.read_bytes())
    assert calibrate(CalibrateOptions(onnx=exported, data="noise", num_images=8, out=out)).num_images == 8
    (tmp_path / "t.calib.partial").write_bytes(b"cut off")
    calibrate(CalibrateOptions(onnx=exported, data="noise", num_images=8, out=out, force=True))
    assert not (tmp_path / "t.calib.partial").exists()


def test_kept_statistics_serve_another_method_without_images(exported, tmp_path, monkeypatch):
    from resnet_deploy.data.noise import NoiseSource

    options = {"onnx": exported, "data": "noise", "num_images": 4}
    for method in ("max", "percentile:99.9"):
        calibrate(CalibrateOptions(**options, method=method, out=tmp_path / f"{method}.expected"))
    first = calibrate(CalibrateOptions(**options, out=tmp_path / "a.json", keep_statistics=True))
    assert first.statistics == tmp_path / "net.calib.stats"

    def refuse(self, index):
        raise AssertionError("an image was read")

    with monkeypatch.context() as patch:
        patch.setattr(NoiseSource, "image", refuse)
        for method in ("max", "percentile:99.9"):
            table = calibrate(CalibrateOptions(**options, method=method, out=tmp_path / f"{method}.json")).file
            assert table.read_bytes() == (tmp_path / f"{method}.expected").read_bytes()
        with pytest.raises(AssertionError, match="an image was read"):
            calibrate(CalibrateOptions(**{**options, "seed": 1}, out=tmp_path / "b.json"))
        with pytest.raises(AssertionError, match="an image was read"):
            calibrate(CalibrateOptions(**options, out=tmp_path / "b.json", force=True))


def test_one_image_is_called_not_representative(exported, tmp_path):
    result = calibrate(CalibrateOptions(onnx=exported, data="noise", num_images=1, out=tmp_path / "t.json"))
    assert any("not representative" in warning for warning in result.warnings)
    more = calibrate(CalibrateOptions(onnx=exported, data="noise", num_images=2, out=tmp_path / "t.json"))
    assert more.warnings == ()


def test_repeats_and_constant_images_are_warned_of(exported, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i, pixels in enumerate(
        [np.zeros((32, 32, 3), np.uint8)] * 2 + [np.eye(32, dtype=np.uint8)[..., None] * [9] * 3]
    ):
        Image.fromarray(np.broadcast_to(pixels, (32, 32, 3)).astype(np.uint8)).save(tmp_path / "images" / f"{i}.png")
    result = calibrate(CalibrateOptions(onnx=exported, data=str(tmp_path / "images"), out=tmp_path / "t.json"))
    assert (result.num_images, result.num_distinct, result.num_constant) == (3, 2, 2)
    assert result.warnings == ("1 of 3 images are repeats", "2 of 3 images are of one colour")
