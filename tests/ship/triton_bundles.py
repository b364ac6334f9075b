"""A small bundle for the tests of the Triton repository: a network of one convolution, and stand-ins for its plans."""

__all__ = ["PREPROCESS", "SIDE", "make_bundle", "plan"]

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from resnet_deploy.core.files import sha256_of_bytes, sha256_of_file
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.graph.pixel_prefix import with_pixel_input
from resnet_deploy.ship.golden import golden_pixels
from resnet_deploy.ship.manifest import (
    BUNDLE_SCHEMA,
    BundleFile,
    BundleManifest,
    BundleModel,
    BundleNet,
    BundlePreprocess,
    BundleTensor,
    Golden,
    SelfTest,
)
from resnet_deploy.ship.manifest_file import manifest_bytes

SIDE, NUM_CLASSES = 24, 5
PREPROCESS = Preprocess(height_px=SIDE, width_px=SIDE, resize_shorter_px=28, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


def network(batch="N"):
    rng = np.random.default_rng(3)
    weights = {
        "kernel": rng.normal(size=(4, 3, 5, 5)) / 8,
        "matrix": rng.normal(size=(4, NUM_CLASSES)),
        "bias": rng.normal(size=NUM_CLASSES),
    }
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["maps"], strides=[2, 2]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "matrix", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, NUM_CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def plan(capability, *, product="tensorrt", path=None, **fields):
    """What changes of a model's record to make it an engine's."""
    return {
        "path": path or f"engines/net.sm{capability.replace('.', '') or 'any'}.engine",
        "format": "engine",
        "product": product,
        "version": "10.13.3.9",
        "compute_capabilities": (capability,) if capability else (),
        "max_batch": 16,
        **fields,
    }


def make_bundle(folder, *, plans=(), onnx_file=True, in_graph=False, labels=True, batch="N", precision=Precision.FP32):
    """Write a bundle whose engines are a few bytes; returns its manifest."""
    folder.mkdir(parents=True)
    pixels = golden_pixels(61, 83)
    Image.fromarray(pixels).save(folder / "golden.png")
    crop = crop_pixels(pixels, PREPROCESS)
    model = network(batch)
    if in_graph:
        model = with_pixel_input(model, PREPROCESS, name="net")
    onnx.save(model, folder / "model.onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    given = pixels[None] if in_graph else normalize(crop, PREPROCESS)[None]
    (expected,) = session.run(None, {session.get_inputs()[0].name: given})
    free = -1 if batch == "N" else batch
    record = {
        "path": "model.onnx",
        "format": "onnx",
        "product": "",
        "version": "",
        "precision": precision,
        "compute_capabilities": (),
        "hardware_compatible": True,
        "input": BundleTensor(name="pixels", dtype="uint8", shape=(free, -1, -1, 3))
        if in_graph
        else BundleTensor(name="images", dtype="float32", shape=(free, 3, SIDE, SIDE)),
        "output": BundleTensor(name="logits", dtype="float32", shape=(free, NUM_CLASSES)),
        "max_batch": 0,
        "self_test": SelfTest(
            expected=tuple(map(float, expected[0])), max_abs_error=1e-4, measured_on="onnxruntime, CPU"
        ),
    }
    models = [BundleModel(**{**record, "hardware_compatible": False, **changes}) for changes in plans]
    models += [BundleModel(**record)] if onnx_file else []
    for entry in models:
        if entry.format == "engine":
            (folder / entry.path).parent.mkdir(exist_ok=True)
            (folder / entry.path).write_bytes(f"ftrt of {entry.path}".encode())
    (folder / "LICENCES.txt").write_text("none\n")
    if labels:
        (folder / "labels.txt").write_text("".join(f"class {index}\n" for index in range(NUM_CLASSES)))
    if not onnx_file:
        (folder / "model.onnx").unlink()
    return _write_manifest(folder, models, crop, labels=labels)


def _write_manifest(folder, models, crop, *, labels):
    files = tuple(
        BundleFile(
            path=path.relative_to(folder).as_posix(), sha256=sha256_of_file(path), size_bytes=path.stat().st_size
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    manifest = BundleManifest(
        schema=BUNDLE_SCHEMA,
        name="net",
        version="2026-11-22",
        created="2026-11-22T02:00:00+00:00",
        made_by={"resnet-deploy": "0.1.0"},
        net=BundleNet(name="net", num_classes=NUM_CLASSES, output="logits"),
        preprocess=BundlePreprocess.of(PREPROCESS),
        labels="labels.txt" if labels else None,
        golden=Golden(image="golden.png", pixels_sha256=sha256_of_bytes(np.ascontiguousarray(crop).tobytes())),
        licences="LICENCES.txt",
        files=files,
        models=tuple(models),
    )
    (folder / "bundle.json").write_bytes(manifest_bytes(manifest))
    return manifest
