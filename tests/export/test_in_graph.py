"""`export --preprocess`, and what every later command does with a file that prepares its images itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, DataError, ExportError
from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.engine.inspection.program_text import read_program_text
from resnet_deploy.engine.open import open_runner
from resnet_deploy.export import forms, in_graph
from resnet_deploy.export.in_graph import InGraphOptions, export_in_graph, export_preprocess
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.verify.answers import Answerer
from resnet_deploy.verify.subject import subject_of
from tests.reference.small_networks import resnet8_onnx


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forms, "onnx_from_torch", lambda net, preprocess: resnet8_onnx())


def _run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _made(*arguments: object) -> list[str]:
    result = _run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    return [item["file"] for item in (found if isinstance(found, list) else [found])]


def _files(*precisions: str) -> list[str]:
    return _made("export", "--net", "resnet8", "--precision", ",".join(precisions), "--preprocess", "in-graph")


def _int8(fp32: str) -> str:
    assert _run("calibrate", fp32, "--data", "noise", "--images", 3, "--threads", 1).exit_code == 0
    return _made("quantize", fp32)[0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten classes of images of several sizes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    sizes = [(40, 33), (57, 90), (32, 32), (5, 3), (90, 57)]
    for number in range(12):
        size = sizes[number % len(sizes)]
        folder = tmp_path / "photos" / f"class{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_a_checkpoint_gives_the_host_s_file_and_another(tmp_path) -> None:
    files = _files("fp32", "fp16")
    assert files == [f"out/resnet8{word}.{p}.onnx" for word in ("", ".pixels") for p in ("fp32", "fp16")]
    host, manifest = read_manifest(tmp_path / files[1]), read_manifest(tmp_path / files[3])
    assert (manifest.precision, manifest.preprocess, manifest.net) == (host.precision, host.preprocess, host.net)
    assert manifest.takes_pixels and not host.takes_pixels
    assert manifest.input_sha256("onnx") == host.sha256 and "not yet on a GPU" in manifest.details["note"]
    assert json.loads(_run("export", "--net", "resnet8", "--preprocess", "in-graph", "--json").stdout)[1]["skipped"]


def test_a_file_of_ours_keeps_its_precision_and_its_network(tmp_path) -> None:
    (fp32,) = _made("export", "--net", "resnet8")
    int8 = _int8(fp32)
    (made,) = _made("export", int8, "--preprocess", "in-graph")
    assert made == "out/resnet8.pixels.int8.onnx"
    manifest = read_manifest(tmp_path / made)
    assert str(manifest.precision) == "int8" and manifest.stage == "export" and manifest.net.name == "resnet8"
    assert manifest.details["audit"] == read_manifest(tmp_path / int8).details["audit"]
    whole, host = read_onnx(tmp_path / made), read_onnx(tmp_path / int8)
    kinds = [node.op_type for node in whole.graph.node if not node.name.startswith("preprocess.")]
    assert kinds == [node.op_type for node in host.graph.node]


def test_the_preprocessing_alone_is_one_file_for_all_precisions(tmp_path) -> None:
    files = _made("export", "--net", "resnet8", "--precision", "fp32,fp16", "--preprocess", "only")
    assert files[2:] == ["out/resnet8.preprocess.onnx"]
    manifest = read_manifest(tmp_path / files[2])
    image = np.random.default_rng(0).integers(0, 256, (70, 41, 3), dtype=np.uint8)
    with open_runner(tmp_path / files[2]) as runner:
        assert [spec.name for spec in runner.info.outputs] == ["images"]
        got = runner.run({"pixels": image[None]})["images"][0]
    assert np.array_equal(got, preprocess(image, manifest.preprocess)) and manifest.takes_pixels
    assert _made("export", files[0], "--preprocess", "only") == files[2:]
    assert json.loads(_run("export", files[1], "--preprocess", "only", "--json").stdout)[0]["skipped"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["FILE"], "FILE is exported already"),
        (["FILE", "--preprocess", "inside"], "--preprocess is 'inside', expected host, in-graph, only"),
        (["FILE", "--preprocess", "in-graph", "--precision", "fp16"], "FILE keeps its network, precision, outputs"),
        (["FILE", "a.safetensors", "--preprocess", "in-graph"], "checkpoints and ONNX files were given together"),
        (["FILE", "FILE", "--preprocess", "only"], "2 files were given"),
        (["FILE", "--preprocess", "in-graph", "--out", "FILE"], "--out FILE is the file itself"),
        (["missing.onnx", "--preprocess", "in-graph"], "missing.onnx: no such file"),
    ],
)
def test_wrong_usage_is_told_in_a_line(arguments: list[str], said: str) -> None:
    (file,) = _made("export", "--net", "resnet8")
    result = _run("export", *[word.replace("FILE", file) for word in arguments])
    assert result.exit_code == 2 and said.replace("FILE", file) in " ".join(result.stderr.split()), result.output


def test_a_file_that_has_it_already_or_says_no_pixels_is_refused(tmp_path) -> None:
    _, made = _files("fp32")
    with pytest.raises(ArtifactError, match=r"resnet8\.pixels\.fp32\.onnx has its preprocessing in the graph already"):
        export_in_graph(InGraphOptions(onnx=Path(made)))
    with pytest.raises(ConfigError, match=r"net\.engine: preprocessing is put before an ONNX file"):
        InGraphOptions(onnx=Path("net.engine"))
    record = tmp_path / "out/resnet8.fp32.onnx.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "preprocess": None}))
    with pytest.raises(ArtifactError, match=r"resnet8\.fp32\.onnx: its manifest says no preprocessing"):
        export_preprocess(InGraphOptions(onnx=Path("out/resnet8.fp32.onnx")))


def test_bytes_that_differ_from_the_host_s_are_not_written(monkeypatch, tmp_path) -> None:
    (file,) = _made("export", "--net", "resnet8")
    monkeypatch.setattr(
        in_graph, "preprocess", lambda image, spec: np.nextafter(preprocess(image, spec), np.float32(9))
    )
    with pytest.raises(ExportError, match=r"ONNX Runtime's pixels differ from the host's for an image of 64x49 px"):
        export_in_graph(InGraphOptions(onnx=Path(file)))
    monkeypatch.setattr(in_graph, "_check_bytes", lambda spec, name: None)
    monkeypatch.setattr(in_graph, "preprocess", lambda image, spec: 1.001 * preprocess(image, spec))
    with pytest.raises(ExportError, match=r"preprocessing on the host disagree: 0\.\d+ of the largest value"):
        export_in_graph(InGraphOptions(onnx=Path(file)))
    assert not (tmp_path / "out/resnet8.pixels.fp32.onnx").exists()


@pytest.mark.parametrize("output", ["softmax", "topk", "features", "c0,c1"])
def test_other_outputs_and_a_fixed_batch_go_through(output: str) -> None:
    for more in ((), ("--batch", 3)):
        files = _made("export", "--net", "resnet8", "--output", output, "--preprocess", "in-graph", *more)
        image = np.random.default_rng(0).integers(0, 256, (3, 70, 41, 3), dtype=np.uint8)
        spec = read_manifest(Path(files[0])).preprocess
        with open_runner(Path(files[0])) as host, open_runner(Path(files[1])) as whole:
            expected = host.run({"images": np.stack([preprocess(one, spec) for one in image])})
            got = whole.run({"pixels": image})
        assert set(got) == set(expected) and all(np.array_equal(got[name], expected[name]) for name in got)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_validate_and_evaluate_feed_whole_images(photos: Path, precision: str) -> None:
    (host,) = _made("export", "--net", "resnet8")
    host = _int8(host) if precision == "int8" else host
    (made,) = _made("export", host, "--preprocess", "in-graph")
    for files in ((made, host), (host, made)):
        result = _run("validate", files[0], "--reference", files[1], "--data", photos, "--json")
        verdict = json.loads(result.stdout)
        assert verdict["parity"]["max_abs_error"] == 0 and verdict["num_images"] == 12, result.output


def test_evaluate_counts_the_same_hits(photos: Path) -> None:
    host, made = _files("fp32")
    found = [json.loads(_run("evaluate", file, "--data", photos, "--json").stdout) for file in (host, made)]
    assert found[0]["top1_percent"] == found[1]["top1_percent"] and found[0]["num_images"] == 12
    assert found[1]["views"] == "centre 32x32 px, cut in the graph"
    for words, said in (
        (("--protocol", "ten-crop"), "cuts the centre of its images itself, ten-crop wants other views"),
        (("--preprocess", "cifar"), "prepares its images itself, --preprocess cifar can not change that"),
    ):
        result = _run("evaluate", made, "--data", photos, *words)
        assert result.exit_code == 2 and said in " ".join(result.stderr.split())


def test_an_image_beyond_the_limit_is_not_answered_wrongly() -> None:
    _, made = _files("fp32")
    subject = subject_of(Path(made), None)
    with open_runner(Path(made)) as runner:
        answerer = Answerer.of(subject, runner)
        answerer.answer([np.zeros((3, 2000, 3), np.uint8)])
        with pytest.raises(DataError, match="overflows for an image of 300000x3 px"):
            answerer.answer([np.zeros((3, 300_000, 3), np.uint8)])


def test_bench_and_sanity_feed_pixels() -> None:
    _, made = _files("fp32")
    result = _run("bench", made, "--batches", 1, "--size", "50x70", "--seconds", 0.01, "--json")
    assert result.exit_code == 0, result.output
    assert _run("sanity", made).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["calibrate", "FILE", "--data", "noise"],
        ["quantize", "FILE"],
        ["ranges", "FILE", "--data", "noise"],
        ["sensitivity", "FILE", "--data", "noise"],
        ["quantize", "FILE", "--max-drop", "1", "--data", "noise"],
        ["diverge", "FILE", "--reference", "HOST", "--data", "noise"],
        ["bisect", "FILE", "--reference", "HOST", "--data", "noise"],
        ["attribute", "FILE", "--reference", "HOST", "--data", "noise"],
        ["scan", "FILE", "--data", "noise"],
    ],
    ids=lambda words: " ".join(words[:3:2]),
)
def test_what_looks_inside_a_network_names_the_file_to_give(words: list[str]) -> None:
    host, made = _files("fp32")
    result = _run(*[word.replace("FILE", made).replace("HOST", host) for word in words])
    told = " ".join(result.stderr.split())
    assert result.exit_code == 2 and f"{made} prepares its images itself; this works on the network alone" in told, told
    assert f"give the file it was made from: {host}" in told


def test_audit_and_estimate() -> None:
    (fp32,) = _made("export", "--net", "resnet8")
    int8 = _int8(fp32)
    (made,) = _made("export", int8, "--preprocess", "in-graph")
    said = [json.loads(_run("audit", file, "--json").stdout)["summary"] for file in (int8, made)]
    assert said[0] == said[1]
    result = _run("estimate", made, "--target", "l4")
    assert result.exit_code == 2 and "the graph prepares images of any size itself" in result.stderr


def _preprocessing_layers(engine: Path) -> list:
    found = read_program_text(engine).layers
    return [layer for layer in found if any(node.startswith("preprocess.") for node in layer.nodes)]


def _check_engine(engine: Path, precision: str) -> None:
    """As the engine's own text has it: float32 products, nothing shorter before the network's own first kernel."""
    layers = _preprocessing_layers(engine)
    products = [layer for layer in layers if any("MatMul" in node for node in layer.nodes)]
    assert len(products) >= 4
    assert {tensor.dtype for layer in products for tensor in (*layer.inputs, *layer.outputs)} <= {"fp32"}
    last = [tensor.dtype for tensor in layers[-1].outputs]
    between = {tensor.dtype for layer in layers[:-1] for tensor in layer.outputs}
    assert between <= {"fp32", "int32"} and last == [{"fp16": "fp16", "int8": "int8"}[precision]]


USUAL = {"min": [1, 1, 1, 3], "opt": [8, 480, 640, 3], "max": [32, 2048, 2048, 3]}
CHOSEN = {"min": [4, 32, 32, 3], "opt": [4, 50, 70, 3], "max": [4, 512, 512, 3]}


@pytest.mark.parametrize(
    ("precision", "words", "profile"),
    [("fp16", (), USUAL), ("int8", ("--size", "32:50x70:512", "--profile", "4"), CHOSEN)],
    ids=["fp16", "int8"],
)
def test_tensorrt_rtx_builds_it_with_the_usual_sizes_and_others(
    tmp_path, precision: str, words: tuple, profile: dict
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    fp32, host = _made("export", "--net", "resnet8", "--precision", "fp32,fp16")
    host = _int8(fp32) if precision == "int8" else host
    (made,) = _made("export", host, "--preprocess", "in-graph")
    result = _run("build", made, "--target", "sm86", *words)
    assert result.exit_code == 0, result.output
    engine = tmp_path / made.replace(".onnx", ".engine")
    manifest = read_manifest(engine)
    assert manifest.details["inputs"][0] == {"name": "pixels", "dtype": "uint8", "shape": ["N", "height", "width", 3]}
    assert manifest.details["profiles"] == [profile]
    assert manifest.takes_pixels and "not yet on a GPU" in manifest.details["note"]
    _check_engine(engine, precision)
    assert "centre 32x32 px, rule 1, in the graph (not yet proven on a GPU)" in _run("inspect", engine).stdout


@pytest.mark.slow
def test_resnet50_in_fp16_and_int8_goes_through_the_parser(monkeypatch, tmp_path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    fp32, fp16 = _made("export", "--depth", 50, "--precision", "fp32,fp16")
    assert _run("calibrate", fp32, "--data", "noise", "--images", 2, "--method", "max").exit_code == 0
    made = _made("export", fp16, _made("quantize", fp32)[0], "--preprocess", "in-graph")
    assert [Path(file).name for file in made] == ["resnet50.pixels.fp16.onnx", "resnet50.pixels.int8.onnx"]
    for file, precision in zip(made, ("fp16", "int8"), strict=True):
        result = _run("build", file, "--target", "sm86", "--json")
        assert result.exit_code == 0, result.output
        _check_engine(tmp_path / file.replace(".onnx", ".engine"), precision)
