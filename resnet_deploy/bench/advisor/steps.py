"""The commands that make, validate and measure what is recommended."""

from __future__ import annotations

__all__ = ["next_steps"]

from resnet_deploy.bench.advisor.advice import Option
from resnet_deploy.bench.advisor.target import AdvisorTarget
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import find_net


def next_steps(option: Option, target: AdvisorTarget) -> tuple[str, ...]:
    """Command lines for `option` on `target`; capital words stand for files that the user has.

    Where the image size is not the network's usual one, the file takes any size: it is calibrated at its usual one, and
    validated and timed at `option`'s, with PIXELS.json for the preprocessing there. None for a network that is not of the catalogue.
    """
    try:
        spec = find_net(option.net)
    except ConfigError:  # measured, but no network of the catalogue: its file is the user's own
        return ()
    side = option.size_px
    own_size = side == spec.preprocess.height_px
    stem = f"out/{option.net}" if own_size else f"out/{option.net}.dynamic-size"
    pixels = "" if own_size else " --preprocess PIXELS.json"
    file = f"{stem}.{option.precision}.onnx"
    steps = [f"resnet-deploy import WEIGHTS --net {option.net} --out out/{option.net}.safetensors"]
    steps.append(_export(option, own_size))
    if option.precision in (Precision.INT8, Precision.FP8):
        steps.append(f"resnet-deploy calibrate {stem}.fp32.onnx --data TRAIN")
        fp8 = " --precision fp8" if option.precision is Precision.FP8 else ""
        steps.append(f"resnet-deploy quantize {stem}.fp32.onnx{fp8}")
    if target.gpu is not None:
        product = "tensorrt-rtx" if "tensorrt-rtx" in target.gpu.products else "tensorrt"
        where = f"--product {product}" if product == "tensorrt" else f"--target {target.gpu.sm}"
        size = "" if own_size else f" --size {side}"
        steps.append(f"resnet-deploy build {file} {where} --profile {option.batch}{size}")
        file = f"{stem}.{option.precision}.engine"
    backend = option.backend.split(",")[0]
    if backend.startswith("torch"):
        file = f"out/{option.net}.safetensors"
    if backend and (target.gpu is None or backend.startswith("torch")):
        file = f"{backend}:{file}"
    if option.precision is not Precision.FP32 or target.gpu is not None:
        steps.append(f"resnet-deploy validate {file} -r {stem}.fp32.onnx --data VAL{pixels}")
    size = "" if own_size else f" --size {side}"
    steps.append(f"resnet-deploy bench {file} --batches {option.batch}{size} --out out/bench.json")
    again = f"resnet-deploy advise --target {target.name} --from out"
    return (*steps, again)


def _export(option: Option, own_size: bool) -> str:
    precisions = "fp32,fp16" if option.precision is Precision.FP16 else "fp32"
    if option.precision is Precision.BF16:
        precisions = "fp32,bf16"
    size = "" if own_size else " --dynamic-size"
    return f"resnet-deploy export out/{option.net}.safetensors --precision {precisions}{size}"
