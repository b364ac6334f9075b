"""The self-test of a model of a bundle, run in Python: ONNX on ONNX Runtime, an engine where a GPU and a library fit it."""

from __future__ import annotations

__all__ = ["run_self_test", "self_test_name"]

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import ConfigError, MissingDependencyError, ResnetDeployError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.header import read_engine_header
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.preflight.check import State
from resnet_deploy.engine.preflight.compatibility import built_for, check_gpu, check_library, parse_gpu
from resnet_deploy.engine.preflight.installed import find_installed
from resnet_deploy.pipeline.bundle.self_tests import GoldenImage, answer_of
from resnet_deploy.ship.checks import Check, CheckState
from resnet_deploy.ship.manifest import BundleModel

_REMEDY = (
    "make the bundle again from the files of one chain; `resnet-deploy validate` compares a file with its original"
)


def self_test_name(model: BundleModel) -> str:
    """Of the check."""
    return f"self-test of {model.path}"


def run_self_test(file: Path, model: BundleModel, image: GoldenImage, preprocess: Preprocess) -> Check:
    """Compare the answer of `file` with what its entry in the manifest expects.

    Args:
        file: Its hash was compared before: an engine is executable code.
    """
    name = self_test_name(model)
    try:
        if reason := _why_not_here(file, model):
            return Check(name=name, state=CheckState.NOT_RUN, detail=reason)
        with open_runner(file, backend="onnxruntime-cpu" if model.format == "onnx" else None, trust=True) as runner:
            found = [f"{spec.name} {spec.dtype}" for spec in (*runner.info.inputs, *runner.info.outputs)]
            said = [f"{spec.name} {spec.dtype}" for spec in (model.input, model.output)]
            if found != said:
                return Check.of(name, [f"its tensors are {found}, the manifest says {said}"], "", remedy=_REMEDY)
            answer = answer_of(runner, image, preprocess, takes_pixels=model.takes_pixels)
            where = f"{runner.info.backend} {runner.info.version}, {runner.info.device}"
    except MissingDependencyError as error:
        return Check(name=name, state=CheckState.NOT_RUN, detail=error.message)
    except ResnetDeployError as error:
        return Check.of(name, [error.message], "", remedy=error.remedy or _REMEDY)
    problems, good = _compare(answer, model, where)
    return Check.of(name, problems, good, remedy=_REMEDY)


def _why_not_here(file: Path, model: BundleModel) -> str:
    """Why an engine can not run on this machine; empty where it can, and for ONNX."""
    if model.format == "onnx":
        return ""
    driver = query_cuda_driver()
    if not driver.gpus:
        return f"an engine needs a GPU: {driver.reason}"
    built = built_for(read_engine_header(file), {})
    if not built.targets and model.compute_capabilities and not model.hardware_compatible:
        built = replace(built, gpu=parse_gpu(model.compute_capabilities[0]))
    checks = [check_library(built, find_installed(built.product))]
    with suppress(ConfigError):  # of a GPU that this release has not heard of; the library says whether it fits
        checks.insert(0, check_gpu(built, parse_gpu(driver.gpus[0].compute_capability)))
    misfits = [check.text for check in checks if check.state is State.MISFIT]
    return f"{driver.gpus[0].name}: {misfits[0]}" if misfits else ""


def _compare(answer: np.ndarray, model: BundleModel, where: str) -> tuple[list[str], str]:
    expected, allowed = np.array(model.self_test.expected), model.self_test.max_abs_error
    if answer.shape != expected.shape:
        return [f"on {where} it gives {len(answer)} values, expected {len(expected)}"], ""
    difference = np.abs(answer.astype(np.float64) - expected)
    index = int(difference.argmax())  # of a NaN, where there is one
    if not difference[index] <= allowed:
        text = f"on {where} output {index} is {answer[index]:.6g}, expected {expected[index]:.6g} within {allowed:.3g}"
        return [text], ""
    return [], f"on {where}: largest difference {difference[index]:.2g}, allowed {allowed:.2g}"
