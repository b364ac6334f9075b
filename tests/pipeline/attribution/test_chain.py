"""Walking manifests back: which stages are found, which are to be made, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_deploy.core.artifacts import write_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.pipeline.attribution.chain import Chain, find_chain
from resnet_deploy.pipeline.attribution.files import FromCheckpoint, InHalf, Requantised

_PIXELS = Preprocess(height_px=32, width_px=32, resize_shorter_px=32, mean=(0, 0, 0), std=(1, 1, 1))
_QUANTIZED = {
    "precision": "int8",
    "float_precision": "fp16",
    "exclude": ["fc"],
    "keep_float": [],
    "exact_input": True,
    "unsigned_relu": "off",
    "refine": None,
}


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """A file of any bytes with a manifest; what walks the chain reads manifests alone."""

    def put(name: str, stage: str, precision: Precision | None = None, *, options=(), details=(), **inputs: Path):
        file = tmp_path / name
        file.write_text(name)
        kind = {".safetensors": "checkpoint", ".onnx": "onnx", ".engine": "engine", ".json": "calibration"}[file.suffix]
        write_manifest(
            file,
            kind=kind,
            stage=stage,
            inputs={role.replace("_", " "): path for role, path in inputs.items()},
            options=dict(options),
            details=dict(details),
            precision=precision,
            preprocess=_PIXELS,
        )
        return file

    return put


@pytest.fixture
def fp32(put) -> Path:
    return put("net.fp32.onnx", "export", Precision.FP32, checkpoint=put("net.safetensors", "train"))


@pytest.fixture
def quantised(put, fp32) -> Callable[..., Path]:
    def make(name: str = "net.int8.onnx", **changed) -> Path:
        table = put("net.calib.json", "calibrate", onnx=fp32)
        return put(name, "quantize", Precision.INT8, options=_QUANTIZED | changed, onnx=fp32, calibration=table)

    return make


def _shown(chain: Chain) -> list[tuple[str, str]]:
    return [(stage.name, stage.cause) for stage in chain.stages]


_QUANTISED = [
    ("reference", ""),
    ("fp32 onnx", "export"),
    ("int8 onnx, fp32 floats", "quantisation"),
    ("int8 onnx", "precision conversion"),
]


def test_an_engine_leads_back_to_the_checkpoint(put, quantised, fp32) -> None:
    int8 = quantised()
    engine = put("net.int8.engine", "build", Precision.INT8, onnx=int8)
    chain = find_chain(engine)
    assert _shown(chain) == [*_QUANTISED, ("engine", "engine")] and not chain.gaps
    made = chain.stages[2].made
    assert isinstance(made, Requantised) and made.floats is Precision.FP32 and made.network == fp32
    assert made.manifest.options["exclude"] == ["fc"]
    assert isinstance(chain.branch.made, InHalf) and chain.branch.made.precision is Precision.FP16


def test_another_backend_of_an_onnx_file_is_an_engine(quantised) -> None:
    chain = find_chain(quantised(), "openvino")
    assert _shown(chain) == [*_QUANTISED, ("openvino", "engine")]
    assert chain.stages[-1].file == chain.stages[-2].file and chain.stages[-2].backend is None
    assert len(find_chain(quantised(), "onnxruntime").stages) == 4


def test_refined_and_bf16_files_have_all_that_lies_between_made(quantised) -> None:
    chain = find_chain(quantised(float_precision="bf16", refine={"refinements": ["bias"]}))
    assert [name for name, _ in _shown(chain)][2:] == ["int8 onnx, fp32 floats", "int8 onnx, unrefined", "int8 onnx"]
    assert [stage.cause for stage in chain.stages][2:] == ["quantisation", "precision conversion", "refinement"]
    assert chain.stages[3].made.floats is Precision.BF16 and chain.branch.made.precision is Precision.BF16
    chain = find_chain(quantised(float_precision="fp32", refine={"refinements": ["bias"]}))
    assert [stage.cause for stage in chain.stages][2:] == ["quantisation", "refinement"] and chain.branch is None


def test_a_lost_table_joins_quantisation_and_conversion(quantised) -> None:
    int8 = quantised()
    (int8.parent / "net.calib.json").unlink()
    chain = find_chain(int8)
    assert _shown(chain)[2:] == [("int8 onnx", "quantisation + precision conversion")] and chain.branch is None
    assert "net.calib.json, which is not here" in chain.gaps[0].reason


def test_training_after_quantisation_is_a_step_and_so_is_training_again(put, quantised, fp32) -> None:
    int8 = quantised()
    once = put("net.qat.onnx", "train", Precision.INT8, onnx=fp32, quantized=int8)
    twice = put("net.qat2.onnx", "train", Precision.INT8, onnx=fp32, quantized=once)
    assert _shown(find_chain(twice)) == [
        *_QUANTISED,
        ("int8 onnx (2)", "further training"),
        ("int8 onnx (3)", "further training"),
    ]
    twin = put("net.qat.fp32.onnx", "train", Precision.FP32, onnx=fp32)
    assert _shown(find_chain(twin))[-1] == ("fp32 onnx (2)", "further training")


def test_an_imported_file_leads_to_the_one_made_elsewhere_with_its_pixels(put, tmp_path: Path) -> None:
    original = tmp_path / "theirs.onnx"
    original.write_text("theirs")
    chain = find_chain(put("theirs.fp32.onnx", "import", Precision.FP32, onnx=original))
    assert _shown(chain) == [("reference", ""), ("fp32 onnx", "import")]
    assert chain.stages[0].file == original and chain.stages[0].preprocess == _PIXELS


def test_an_ensemble_begins_with_its_own_onnx_file(put) -> None:
    members = {f"member_{i}": put(f"{i}.safetensors", "train") for i in (1, 2)}
    fp32 = put("ens.fp32.onnx", "export", Precision.FP32, **members)
    fp16 = put("ens.fp16.onnx", "export", Precision.FP16, onnx=fp32)
    chain = find_chain(fp16)
    assert _shown(chain) == [("fp32 onnx", "export"), ("fp16 onnx", "precision conversion")]
    assert "averages several checkpoints" in chain.gaps[0].reason


def test_a_reference_within_the_chain_cuts_it(quantised, fp32) -> None:
    chain = find_chain(quantised(), reference=fp32)
    assert _shown(chain) == [("reference", ""), *_QUANTISED[2:]] and chain.branch is not None
    assert find_chain(quantised(), reference=fp32, reference_backend="openvino").stages[0].backend == "openvino"


def test_a_reference_outside_the_chain_comes_before_it(put, quantised, fp32) -> None:
    other = put("other.safetensors", "import")
    assert _shown(find_chain(quantised(), reference=other))[:3] == [
        ("reference", ""),
        ("the chain's own network", "other weights"),
        ("fp32 onnx", "export"),
    ]
    (fp32.parent / "net.safetensors").unlink()
    chain = find_chain(fp32, reference=other)
    assert _shown(chain) == [("reference", ""), ("fp32 onnx", "export")] and not chain.gaps
    onnx = put("other.fp32.onnx", "import", Precision.FP32)
    assert _shown(find_chain(fp32, reference=onnx)) == [("reference", ""), ("fp32 onnx", "other weights")]


@pytest.mark.parametrize(
    "precision, cause",
    [
        (Precision.INT8, "quantisation + precision conversion + engine"),
        (Precision.BF16, "precision conversion + engine"),
        (Precision.FP32, "engine"),
    ],
)
def test_an_engine_whose_onnx_file_is_lost_may_hold_all_causes(put, precision: Precision, cause: str) -> None:
    onnx = put("net.onnx", "export", precision)
    engine = put("net.engine", "build", precision, onnx=onnx)
    onnx.unlink()
    chain = find_chain(engine, reference=put("net.safetensors", "train"))
    assert _shown(chain) == [("reference", ""), ("fp32 onnx", "export"), ("engine", cause)]
    assert isinstance(chain.stages[1].made, FromCheckpoint) and "net.onnx, which is not here" in chain.gaps[0].reason


def test_what_was_changed_is_not_walked_through(put, quantised, fp32) -> None:
    int8 = quantised()
    fp32.write_text("changed")
    with pytest.raises(ConfigError, match=r"net\.fp32\.onnx was changed"):
        find_chain(int8)
    int8.write_text("changed")
    with pytest.raises(ArtifactError, match="its manifest says"):
        find_chain(int8)
