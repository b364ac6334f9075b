from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import manifest_path, update_details, write_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.cuda_driver import CudaDriver, Gpu
from resnet_deploy.engine.preflight import run as preflight
from resnet_deploy.engine.preflight.check import Check, State
from resnet_deploy.engine.preflight.installed import InstalledProduct
from resnet_deploy.engine.preflight.run import PreflightOptions, run_preflight

GIB = 2**30
ADA = Gpu(name="NVIDIA L4", compute_capability="8.9", memory_bytes=24 * GIB)
AMPERE = Gpu(name="NVIDIA A10", compute_capability="8.6", memory_bytes=24 * GIB)
NO_GPU = CudaDriver(version=None, gpus=(), reason="no CUDA device: NVIDIA's driver is not installed")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """machine(gpu, ..., driver="13.0", version="1.7.1.116", opinion=None) puts preflight on such a machine."""

    def put(*gpus: Gpu, driver: str | None = "13.0", version: str | None = None, opinion: Check | None = None) -> None:
        found = CudaDriver(version=driver, gpus=gpus, reason="") if gpus else NO_GPU

        def find(product: str) -> tuple[InstalledProduct, ...]:
            one = InstalledProduct(product=product, version=version or "", source="Python package", cuda_major=13)
            return (one,) if version else ()

        monkeypatch.setattr(preflight, "query_cuda_driver", lambda: found)
        monkeypatch.setattr(preflight, "find_installed", find)
        monkeypatch.setattr(preflight, "ask_runtime", lambda product, head: opinion)

    return put


@pytest.fixture
def engine(save_onnx, rtx) -> Path:
    """For sm89, from small.fp32.onnx beside it."""
    return build_engine(BuildOptions(onnx=save_onnx("fp32", manifest=True), targets=("sm89",))).file


def answers(*files: Path | str, **options: object):
    return run_preflight(PreflightOptions(files=files, **options))


def states(answer) -> dict[str, str]:
    return {check.subject: str(check.state) for check in answer.checks}


def test_an_engine_on_the_gpu_it_was_built_for_is_good(engine: Path, machine, rtx) -> None:
    machine(ADA, version=rtx.__version__, opinion=Check(subject="runtime", state=State.GOOD, text="valid"))
    found = answers(engine)
    (answer,) = found.files
    assert found.passed and not found.lacks_gpu and answer.rebuild == ""
    assert set(states(answer)) == {
        *("header", "manifest", "GPU sm89 (NVIDIA L4)", "library", "driver"),
        *("memory of sm89 (NVIDIA L4)", "runtime", "sanity gate"),
    }
    assert answer.not_checked == ("sanity gate",)
    assert [one.version for one in found.installed] == [rtx.__version__]


@pytest.mark.parametrize(
    ("gpus", "options", "failed"),
    [
        ((AMPERE,), {}, "GPU sm86 (NVIDIA A10)"),
        ((ADA,), {"version": "1.6.0.50"}, "library"),
        ((ADA,), {"driver": "12.8", "version": "1.7.1.116"}, "driver"),
        ((Gpu(name="tiny", compute_capability="8.9", memory_bytes=100),), {}, "memory of sm89 (tiny)"),
        ((ADA,), {"opinion": Check(subject="runtime", state=State.MISFIT, text="unsupported cc")}, "runtime"),
    ],
)
def test_each_thing_that_does_not_fit_fails_alone(
    engine: Path, machine, gpus: tuple[Gpu, ...], options: dict, failed: str
) -> None:
    machine(*gpus, **options)
    found = answers(engine)
    (answer,) = found.files
    assert not found.passed and answer.state is State.MISFIT
    assert [subject for subject, state in states(answer).items() if state == "does not fit"] == [failed]
    target = "sm86" if failed.startswith("GPU") else "sm89"
    assert answer.remedy and f"--target {target}" in answer.rebuild and "small.fp32.onnx" in answer.rebuild


def test_one_of_several_gpus_is_enough(engine: Path, machine) -> None:
    machine(AMPERE, ADA)
    assert answers(engine).passed
    machine(AMPERE, AMPERE)
    assert not answers(engine).passed
    machine(replace(ADA, name="small", memory_bytes=100), ADA)
    assert answers(engine).passed
    machine(replace(AMPERE, memory_bytes=100), ADA)
    assert "memory of sm86 (NVIDIA A10)" not in states(answers(engine).files[0])


def test_the_runtime_is_asked_where_its_first_gpu_is_one_that_fits(engine: Path, machine) -> None:
    refusal = Check(subject="runtime", state=State.MISFIT, text="unsupported cc")
    machine(AMPERE, ADA, opinion=refusal)
    assert answers(engine).passed
    machine(ADA, AMPERE, opinion=refusal)
    assert not answers(engine).passed


def test_without_a_gpu_what_can_be_told_is_told(engine: Path, machine) -> None:
    machine()
    found = answers(engine)
    assert found.passed and found.lacks_gpu
    gpu = next(check for check in found.files[0].checks if check.subject == "GPU")
    assert gpu.state is State.NOT_CHECKED and gpu.text == f"it runs on sm89; {NO_GPU.reason}"


def test_every_gpu_asked_for_must_fit_and_nothing_of_this_machine_is_asked(engine: Path, machine) -> None:
    machine(AMPERE, version="9.9.9.9")
    fits = answers(engine, asked_for=("8.9",))
    assert fits.passed and not fits.lacks_gpu and fits.driver is None and fits.installed == ()
    assert list(states(fits.files[0])) == ["header", "manifest", "GPU sm89", "sanity gate"]
    both = answers(engine, asked_for=("sm89", "sm75"))
    assert not both.passed and "--target sm89,sm75" in both.files[0].rebuild


def test_a_damaged_engine_is_rebuilt_as_it_was_or_for_the_gpu_that_is_asked_for(engine: Path, machine) -> None:
    machine()
    engine.write_bytes(engine.read_bytes()[:500])
    assert "--target sm89 " in answers(engine).files[0].rebuild
    assert "--target sm89 " in answers(engine, asked_for=("sm89",)).files[0].rebuild
    assert "--target sm86 " in answers(engine, asked_for=("sm86",)).files[0].rebuild
    assert "--product tensorrt " in answers(engine, asked_for=("sm90",)).files[0].rebuild


def test_a_named_library_takes_the_place_of_what_is_installed(engine: Path, machine, monkeypatch, rtx) -> None:
    machine(ADA, version=rtx.__version__)
    other = InstalledProduct(product="tensorrt-rtx", version="1.6.0.50", source="app.so")
    monkeypatch.setattr(preflight, "probe_library", lambda path: other)
    found = answers(engine, libraries=(Path("app.so"),))
    assert not found.passed and found.installed == (other,)


def test_an_engine_that_failed_the_sanity_gate_does_not_fit(engine: Path, machine) -> None:
    machine()
    update_details(engine, sanity={"state": "failed", "reason": "row 3 of 8 differs"})
    (answer,) = answers(engine).files
    assert states(answer)["sanity gate"] == "does not fit" and "row 3 of 8" in answer.checks[-1].text
    update_details(engine, sanity={"state": "passed"})
    assert answers(engine).files[0].not_checked == ("GPU", "library", "driver")


def test_an_engine_without_weights_is_checked_with_its_onnx_file(engine: Path, machine) -> None:
    machine()
    update_details(engine, stripped=True)
    assert answers(engine).passed
    engine.with_suffix(".onnx").unlink()
    assert states(answers(engine).files[0])["weights"] == "does not fit"


def test_a_manifest_of_another_engine_is_not_believed(engine: Path, machine) -> None:
    machine(ADA)
    other = engine.with_name("other.engine")
    shutil.copy(engine, other)
    other.write_bytes(other.read_bytes()[:-5] + b"other")
    write_manifest(other, kind="engine", stage="build", details={"stripped": True, "sanity": {"state": "failed"}})
    shutil.copy(manifest_path(other), manifest_path(engine))
    (answer,) = answers(engine).files
    assert states(answer)["manifest"] == "does not fit"
    assert not {"weights", "sanity gate"} & set(states(answer))


def test_other_files_of_a_bundle_are_compared_with_their_manifests(engine: Path, machine) -> None:
    machine()
    folder = engine.parent
    for name in ("net.calib.json", "net.verdict.json", "gone.json"):
        (folder / name).write_text("{}")
        write_manifest(folder / name, kind="calibration", stage="calibrate")
    (folder / "net.verdict.json").write_text("{ }")
    (folder / "gone.json").unlink()
    (folder / "labels.txt").write_text("cat")
    (folder / "picture.onnx").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = {Path(one.file).name: (one.kind, str(one.state)) for one in answers(folder).files}
    assert found == {
        "gone.json.json": ("manifest", "damaged"),
        "labels.txt": ("unknown", "not checked"),
        "net.calib.json": ("calibration", "good"),
        "net.verdict.json": ("calibration", "damaged"),
        "picture.onnx": ("onnx", "damaged"),
        "small.fp32.engine": ("engine", "good"),
        "small.fp32.onnx": ("onnx", "good"),
    }


def test_an_onnx_file_is_a_fallback_where_onnx_runtime_is(engine: Path, machine, monkeypatch) -> None:
    machine()
    source = engine.with_suffix(".onnx")
    assert states(answers(source).files[0])["fallback"] == "good"
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    assert states(answers(source).files[0])["fallback"] == "not checked"
    assert "fallback" not in states(answers(source, asked_for=("sm89",)).files[0])


def test_an_engine_is_known_by_its_bytes_whatever_its_name(engine: Path, machine) -> None:
    machine()
    engine.rename(engine.with_name("model.bin"))
    assert answers(engine.with_name("model.bin")).files[0].kind == "engine"


def test_a_file_that_can_not_be_opened_is_an_answer(engine: Path, machine, monkeypatch) -> None:
    machine()

    def refuse(file: Path) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(preflight, "check_header", refuse)
    found = answers(engine, engine.with_suffix(".onnx"))
    assert [str(one.state) for one in found.files] == ["damaged", "good"]
    assert found.files[0].checks[0].text == "can not be read: Permission denied"


def test_nothing_to_check_and_contradictions_are_refused(tmp_path: Path, machine) -> None:
    machine()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"nothing to check in .*notes\.txt"):
        answers(tmp_path)
    with pytest.raises(ConfigError, match="'H100' is no compute capability"):
        answers(tmp_path, asked_for=("H100",))
    with pytest.raises(ConfigError, match="a library of this one was named"):
        answers(tmp_path, asked_for=("sm89",), libraries=(Path("x.so"),))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["min", "opt", "max", "shape", "compute_capability", "name", "state", "reason"]), inner
        )
    ),
    max_leaves=8,
)
_DETAILS = st.dictionaries(
    st.sampled_from(
        ["gpu", "profiles", "inputs", "sanity", "stripped", "hardware_compatibility", "version_compatible", "targets"]
    ),
    _JSON,
)


@settings(max_examples=50, deadline=None)
@given(
    magic=st.sampled_from([b"", b"ftrt", b"vtrt", b"\x08\x0a"]),
    data=st.binary(max_size=200),
    details=_DETAILS,
    options=_DETAILS,
    manifest=st.binary(max_size=80) | st.none(),
    matches=st.booleans(),
    suffix=st.sampled_from(["engine", "onnx", "calib.json"]),
    asked_for=st.sampled_from([(), ("sm89", "sm75")]),
)
def test_no_bytes_and_no_manifest_crash_preflight(
    tmp_path_factory, magic, data, details, options, manifest, matches, suffix, asked_for
) -> None:
    folder = tmp_path_factory.mktemp("any", numbered=True)
    file = folder / f"net.{suffix}"
    content = magic + data
    if magic == b"vtrt" and len(content) >= 64:
        content = content[:16] + len(content).to_bytes(8, "little") + content[24:]
    file.write_bytes(content)
    write_manifest(
        file, kind="engine", stage="build", inputs={"onnx": ("a.onnx", "")}, details=details, options=options
    )
    if manifest is not None:
        manifest_path(file).write_bytes(manifest)
    elif not matches:
        file.write_bytes(content + b"x")
    found = run_preflight(PreflightOptions(files=(folder,), asked_for=asked_for))
    shutil.rmtree(folder)
    assert len(found.files) == 1 and found.files[0].checks
    if not matches or manifest is not None:
        assert not found.passed


def test_it_starts_without_numpy_torch_onnx_or_a_runtime(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x0a")
    heavy = ["numpy", "torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "PIL", "matplotlib", "safetensors"]
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({heavy})); "
        f"sys.argv = ['resnet-deploy', 'preflight', {str(tmp_path)!r}, '--json']\n"
        "from resnet_deploy.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"][0]["kind"] == "onnx"


def test_of_a_bundle_with_an_engine_for_each_gpu_one_that_fits_is_enough_if_that_is_said(save_onnx, rtx) -> None:
    source = save_onnx("fp32", manifest=True)
    ada, blackwell = (
        build_engine(BuildOptions(onnx=source, targets=(sm,), out=source.with_name(f"net.{sm}.engine"))).file
        for sm in ("sm89", "sm120")
    )
    asked = {"asked_for": ("sm89",)}
    assert not answers(ada, blackwell, **asked).passed
    either = answers(ada, blackwell, any_engine=True, **asked)
    assert either.passed and [one.file for one in either.files if one.state.failed] == [str(blackwell)]
    assert not answers(blackwell, any_engine=True, **asked).passed
    blackwell.write_bytes(blackwell.read_bytes()[:-1])  # damage is damage
    assert [one.file for one in answers(ada, blackwell, any_engine=True, **asked).failed] == [str(blackwell)]
    result = CliRunner().invoke(app, ["preflight", str(ada), str(source), "--for", "sm86,sm89", "--any"])
    assert result.exit_code == 1 and "does not fit" in result.stderr  # every GPU that is asked for must be served
