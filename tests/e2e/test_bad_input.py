"""Wrong files at every stage: one message that names the file, the right exit code, nothing half-written."""

import shutil

import pytest

from tests.e2e.conftest import run_program


@pytest.fixture
def workplace(deployed, tmp_path):
    """A copy of the deployed files that a test may break."""
    shutil.copytree(deployed[0] / "out", tmp_path / "out")
    return tmp_path


def cut(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def fails(workplace, *arguments, code, names):
    before = {p: p.read_bytes() for p in workplace.rglob("*") if p.is_file()}
    done = run_program(*arguments, cwd=workplace)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr and "error:" in done.stderr
    for name in names:
        assert name in done.stderr, done.stderr
    after = {p: p.read_bytes() for p in workplace.rglob("*") if p.is_file() and p.suffix != ".partial"}
    assert after == before  # but for what an interrupted run goes on from
    return done.stderr


TRUNCATED = [
    ("resnet8.safetensors", ("export", "out/resnet8.safetensors", "--force")),
    ("resnet8.safetensors", ("evaluate", "out/resnet8.safetensors", "--data", "digits", "--split", "val")),
    ("resnet8.fp32.onnx", ("calibrate", "out/resnet8.fp32.onnx", "--data", "digits", "--force")),
    ("resnet8.fp32.onnx", ("quantize", "out/resnet8.fp32.onnx", "--force")),
    ("resnet8.calib.json", ("quantize", "out/resnet8.fp32.onnx", "--force")),
    ("resnet8.int8.onnx", ("build", "out/resnet8.int8.onnx", "--force")),
    ("resnet8.int8.onnx", ("bench", "out/resnet8.int8.onnx")),
    (
        "resnet8.fp16.onnx",
        ("validate", "out/resnet8.fp16.onnx", "-r", "out/resnet8.fp32.onnx", "--data", "digits", "--split", "val"),
    ),
]


@pytest.mark.parametrize("name, command", TRUNCATED, ids=lambda value: value if isinstance(value, str) else value[0])
def test_a_truncated_file_is_named(workplace, name, command):
    cut(workplace / "out" / name)
    fails(workplace, *command, code=2, names=[name])


@pytest.mark.parametrize("command", ["inspect", "bench"])
def test_a_truncated_engine_is_named(workplace, command):
    engine = workplace / "out" / "resnet8.int8.engine"
    if not engine.is_file():
        pytest.skip("no TensorRT-RTX here, so no engine")
    cut(engine)
    fails(workplace, command, "out/resnet8.int8.engine", code=2, names=["resnet8.int8.engine"])


def test_a_truncated_onnx_without_manifest_is_named(workplace):
    file = workplace / "out" / "resnet8.fp32.onnx"
    cut(file)
    file.with_name(file.name + ".json").unlink()
    for command in (("build",), ("inspect",)):
        fails(workplace, *command, "out/resnet8.fp32.onnx", code=2, names=["resnet8.fp32.onnx"])


def test_a_picture_is_no_engine(workplace):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(workplace / "x.png")
    shutil.move(workplace / "x.png", workplace / "x.engine")
    fails(workplace, "inspect", "x.engine", code=2, names=["x.engine"])


def test_a_class_count_mismatch_names_both(workplace):
    from PIL import Image

    for label in ("cat", "dog", "owl"):
        (workplace / "val" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(workplace / "val" / label / "a.png")
    message = fails(workplace, "evaluate", "out/resnet8.fp32.onnx", "--data", "val", code=2, names=["3 classes"])
    assert "10" in message


def test_an_image_that_is_none_is_named(workplace):
    for label in map(str, range(10)):
        folder = workplace / "images" / label
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"not a picture")
    for command in (
        ("evaluate", "out/resnet8.fp32.onnx"),
        ("calibrate", "out/resnet8.fp32.onnx", "--force"),
    ):
        fails(workplace, *command, "--data", "images", code=2, names=["images/", "a.png"])


def test_a_table_of_another_network_is_refused(workplace):
    done = run_program("export", "--net", "resnet14", cwd=workplace)
    assert done.returncode == 0, done.stderr
    fails(
        workplace,
        "quantize", "out/resnet14.fp32.onnx", "--table", "out/resnet8.calib.json",
        code=2,
        names=["resnet8.calib.json"],
    )  # fmt: skip


def test_a_missing_or_empty_data_folder_is_named(workplace):
    (workplace / "empty").mkdir()
    evaluate = ("evaluate", "out/resnet8.fp32.onnx", "--data")
    fails(workplace, *evaluate, "nowhere", code=2, names=["nowhere: no such folder"])
    fails(workplace, *evaluate, "empty", code=2, names=["empty holds no image"])


def test_a_full_disk_in_any_writing_stage(workplace):
    """RLIMIT_FSIZE stands in for a full disk: a write past it fails as one on a full disk does."""
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from resnet_deploy.cli.main import main\n"
        "main()\n"
    )
    import subprocess
    import sys

    out = workplace / "out"
    for arguments, target in (
        (("export", "out/resnet8.safetensors", "--force"), "resnet8.fp32.onnx"),
        (("calibrate", "out/resnet8.fp32.onnx", "--data", "digits", "--force"), "resnet8.calib.json"),
        (("quantize", "out/resnet8.fp32.onnx", "--force"), "resnet8.int8.onnx"),
        (("build", "out/resnet8.fp32.onnx", "--force"), "resnet8.fp32.engine"),
    ):
        before = (out / target).read_bytes() if (out / target).is_file() else None
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=workplace, capture_output=True, text=True, check=False
        )
        assert done.returncode == 4, (arguments, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr and "error:" in done.stderr, done.stderr
        assert target in done.stderr.split("error:")[1], done.stderr
        assert ((out / target).read_bytes() if (out / target).is_file() else None) == before
        assert not list(workplace.rglob("*.part"))
