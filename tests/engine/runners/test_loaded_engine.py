from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.core.artifacts import manifest_path, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, EngineRunError, MissingDependencyError
from resnet_deploy.engine.runners import runtime_cache
from resnet_deploy.engine.runners.loaded_engine import EngineSettings
from resnet_deploy.engine.runners.tensorrt_runner import TensorRTRunner
from tests.engine.fake_device import FakeDevice
from tests.engine.fake_trt import PLAN, STRIPPED, fake_tensorrt

X = np.ones((2, 4), np.float32)


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_cache, "_IN_PROCESS", {})


def opened(
    file: Path,
    *,
    data: bytes = PLAN,
    with_manifest: bool = False,
    settings: EngineSettings | None = None,
    **options: object,
) -> tuple[TensorRTRunner, list[tuple]]:
    file.write_bytes(data)
    device = FakeDevice()
    runner = TensorRTRunner(
        file,
        data,
        trt=fake_tensorrt(device, **options),
        product="tensorrt-rtx" if options.get("rtx") else "tensorrt",
        device=device,
        manifest=read_manifest(file, verify=False) if with_manifest else None,
        settings=settings or EngineSettings(),
    )
    return runner, device.calls


def stripped_engine(folder: Path, **details: object) -> Path:
    source, file = folder / "net.onnx", folder / "net.engine"
    source.write_bytes(b"onnx weights")
    file.write_bytes(STRIPPED)
    details = {"stripped": True, **details}
    write_manifest(file, kind="engine", stage="build", inputs={"onnx": source}, details=details)
    return file


@pytest.mark.parametrize(("cuda_graphs", "strategy"), [(True, "WHOLE_GRAPH_CAPTURE"), (False, "DISABLED")])
def test_rtx_captures_graphs_itself_and_compiles_at_once(tmp_path: Path, cuda_graphs: bool, strategy: str) -> None:
    runner, calls = opened(tmp_path / "a.engine", rtx=True, settings=EngineSettings(cuda_graphs=cuda_graphs))
    with runner:
        np.testing.assert_array_equal(runner.run({"images": X})["logits"], X + 1)
        assert runner.info.cuda_graphs is cuda_graphs
    assert ("strategies", strategy, "EAGER") in calls
    assert not {"capture", "replay"} & {call[0] for call in calls}


def test_rtx_kernels_are_kept_in_the_file_and_read_again(tmp_path: Path) -> None:
    settings = EngineSettings(runtime_cache=tmp_path / "kernels")
    runner, calls = opened(tmp_path / "a.engine", rtx=True, settings=settings)
    fork = runner.fork()
    runner.run({"images": X})
    runner.close()
    assert not settings.runtime_cache.exists(), "the fork may compile more"
    fork.run({"images": X})
    fork.close()
    runner, calls = opened(tmp_path / "a.engine", rtx=True, settings=settings)
    assert ("cache read", b"kernels of 2 contexts") in calls and runner.info.note == ""
    runner.close()


def test_a_second_opening_in_the_process_needs_no_file(tmp_path: Path) -> None:
    opened(tmp_path / "a.engine", rtx=True)[0].close()
    runner, calls = opened(tmp_path / "a.engine", rtx=True)
    assert any(call[0] == "cache read" for call in calls)
    runner.close()


def test_kernels_that_the_product_refuses_are_compiled_again_with_a_note(tmp_path: Path) -> None:
    opened(tmp_path / "a.engine", rtx=True)[0].close()
    runner, _ = opened(tmp_path / "a.engine", rtx=True, cache=True)
    assert "refuses the kernels kept from before" in runner.info.note
    np.testing.assert_array_equal(runner.run({"images": X})["logits"], X + 1)
    runner.close()


def test_a_damaged_cache_file_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "kernels").write_bytes(b"rubbish")
    settings = EngineSettings(runtime_cache=tmp_path / "kernels")
    runner, _ = opened(tmp_path / "a.engine", rtx=True, settings=settings)
    assert "is not a runtime cache" in runner.info.note
    runner.close()
    assert settings.runtime_cache.read_bytes().startswith(b"resnet-deploy runtime cache 1\n")


def test_a_cache_that_can_not_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactError, match="can not be written"):
        opened(tmp_path / "a.engine", rtx=True, settings=EngineSettings(runtime_cache=tmp_path / "file" / "kernels"))


def test_a_stripped_engine_gets_its_weights_from_the_onnx_file(tmp_path: Path) -> None:
    file = stripped_engine(tmp_path)
    runner, calls = opened(file, data=STRIPPED, with_manifest=True)
    with runner:
        np.testing.assert_array_equal(runner.run({"images": X})["logits"], X + 1)
    assert ("parse", b"onnx weights") in calls
    # without the refit the comparison above fails
    runner, _ = opened(file, data=STRIPPED)
    with runner:
        assert np.isnan(runner.run({"images": X})["logits"]).all()


def test_an_engine_with_weights_is_not_refitted(tmp_path: Path) -> None:
    file = stripped_engine(tmp_path, stripped=False)
    runner, calls = opened(file, data=STRIPPED, with_manifest=True)
    assert not {"parse", "refit"} & {call[0] for call in calls}
    runner.close()


def test_weights_that_are_gone_or_changed_are_named(tmp_path: Path) -> None:
    file = stripped_engine(tmp_path)
    source = tmp_path / "net.onnx"
    source.write_bytes(b"other weights")
    with pytest.raises(ArtifactMismatchError, match=r"net\.onnx with SHA-256"):
        opened(file, data=STRIPPED, with_manifest=True)
    source.unlink()
    with pytest.raises(ArtifactError, match=r"they are in .*net\.onnx, which is not there"):
        opened(file, data=STRIPPED, with_manifest=True)
    plain = json.loads(manifest_path(file).read_text())
    manifest_path(file).write_text(json.dumps({**plain, "inputs": []}))
    with pytest.raises(ArtifactError, match="names no ONNX file"):
        opened(file, data=STRIPPED, with_manifest=True)


@pytest.mark.parametrize(
    ("fault", "says"), [("parse", "parse went wrong.*2 weights are missing"), ("refit", "refit went wrong")]
)
def test_a_refit_that_fails_says_what_the_product_said(tmp_path: Path, fault: str, says: str) -> None:
    file = stripped_engine(tmp_path)
    with pytest.raises(EngineRunError, match=says):
        opened(file, data=STRIPPED, with_manifest=True, **{fault: True})


def test_a_product_that_can_not_refit_from_onnx_is_named(tmp_path: Path) -> None:
    file = stripped_engine(tmp_path)
    trt, device = fake_tensorrt(), FakeDevice()
    del trt.OnnxParserRefitter
    with pytest.raises(MissingDependencyError, match="has no OnnxParserRefitter"):
        TensorRTRunner(
            file,
            STRIPPED,
            trt=trt,
            product="tensorrt",
            device=device,
            manifest=read_manifest(file),
            settings=EngineSettings(),
        )


def test_the_runtime_is_set_up_as_the_engine_was_built(tmp_path: Path) -> None:
    file = tmp_path / "a.engine"
    file.write_bytes(PLAN)
    write_manifest(file, kind="engine", stage="build", options={"dla_core": 1}, details={"version_compatible": True})
    runner, calls = opened(file, with_manifest=True)
    runner.close()
    assert calls[0] == ("runtime settings", 1, True)
    runner, calls = opened(file)
    runner.close()
    assert calls[0] == ("runtime settings", -1, False)
