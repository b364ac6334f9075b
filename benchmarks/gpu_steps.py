"""The steps of `gpu_check`: each answers questions of docs/reference/unverified.md with numbers.

A step gives rows for its table and fails where something is wrong; what can not be asked here (a product that is not
installed, an engine where no GPU runs it) is a row that says so. In a rehearsal engines are built and not run, and
ONNX Runtime's and OpenVINO's processors stand in for a GPU's, so that the code is the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from gpu_cpp import cpp
from gpu_pixels import in_graph
from gpu_subjects import (
    Setting,
    absent_rows,
    answers_of,
    build_here,
    compared_rows,
    fp16_engines,
    installed_products,
    onnx_files_of,
    open_subject,
    p50_ms_of,
    passed,
)
from gpu_timings import int8_forms, latency, measurement, roofline

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(kw_only=True)
class Outcome:
    """What a step found.

    Attributes:
        state: "passed", "failed", or "not run" where nothing of it could be asked here.
        summary: One line.
        rows: Of its table; every row may have columns of its own.
    """

    name: str
    state: str = "passed"
    summary: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_step(name: str, setting: Setting) -> Outcome:
    """Run one step in this process ("latency:resnet18" is the step of one net); an error of ours fails it."""
    from resnet_deploy.core.errors import ResnetDeployError

    outcome, begun = Outcome(name=name), time.perf_counter()
    try:
        for row in step_of(name)(setting):
            outcome.rows.append(row)
    except ResnetDeployError as error:
        outcome.state, outcome.summary = "failed", error.message
    results = [row.get("result", "") for row in outcome.rows]
    if any(result.startswith("FAILED") for result in results):
        outcome.state = "failed"
    elif outcome.rows and outcome.state != "failed" and all(result.startswith("not run") for result in results):
        outcome.state = "not run"
    passed = sum(result == "passed" for result in results)
    outcome.summary = outcome.summary or f"{passed} of {len(results)} passed"
    outcome.seconds = time.perf_counter() - begun
    return outcome


def machine(setting: Setting) -> Iterator[dict[str, Any]]:
    """Does `doctor` say of the GPU what nvidia-smi says, and do PyTorch and ONNX Runtime reach it?"""
    from resnet_deploy.engine.availability import available_backends
    from resnet_deploy.engine.cuda_driver import query_cuda_driver

    query = ["nvidia-smi", "--query-gpu=name,compute_cap,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        said = []
        yield {"what": "nvidia-smi", "got": str(error), "result": "not run: no nvidia-smi"}
    for line, gpu in zip(said, query_cuda_driver().gpus, strict=False):
        name, capability, mib = (part.strip() for part in line.split(","))
        # the driver keeps some of the memory for itself, and rounds
        same = name == gpu.name and capability == gpu.compute_capability
        same = same and abs(int(mib) - gpu.memory_bytes / 2**20) < 0.05 * int(mib)
        own = f"{gpu.name}, {gpu.compute_capability}, {gpu.memory_bytes >> 20}"
        yield {"what": "libcuda against nvidia-smi", "got": f"{own} / {line}", "result": passed(same)}
    for status in available_backends():
        wanted = status.name in ("torch", "onnxruntime")
        on_gpu = status.available and status.device not in ("cpu", None)
        reason = status.reason.removeprefix("not run: ") or "it computes on the processor"
        result = "passed" if on_gpu else f"not run: {reason}"
        if wanted and not on_gpu and not setting.rehearse:
            result = "FAILED: it does not reach the GPU"
        yield {"what": status.name, "got": f"{status.version} on {status.device}", "result": result}


def tests(setting: Setting) -> Iterator[dict[str, Any]]:
    """All tests marked `gpu` or `trt`; a skipped one is a failure where there is a GPU."""
    report = setting.folder / "tests.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu or trt", f"--junitxml={report.resolve()}"]
    variables = {**os.environ, **({} if setting.rehearse else {"RESNET_DEPLOY_REQUIRE_GPU": "1"})}
    done = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False)
    if not report.is_file():
        yield {"test": "pytest", "result": f"FAILED: it ended with {done.returncode}: {done.stdout[-300:]}"}
        return
    cases = list(ElementTree.parse(report).iter("testcase"))
    if not cases:
        yield {"test": "pytest", "result": f"FAILED: no test ran (exit code {done.returncode}): {done.stdout[-300:]}"}
    for case in cases:
        name = f"{case.get('classname')}.{case.get('name')}"
        problem = next((part for part in case if part.tag in ("failure", "error")), None)
        skipped = case.find("skipped")
        if problem is not None:
            yield {"test": name, "result": f"FAILED: {problem.get('message', '')[:200]}"}
        elif skipped is not None:
            yield {"test": name, "result": f"not run: {skipped.get('message', '')}"}
        else:
            yield {"test": name, "result": "passed"}


def engines(setting: Setting) -> Iterator[dict[str, Any]]:
    """Does each product build each precision for this GPU, do the engines run, and do they compute what ONNX Runtime does?"""
    for product in installed_products():
        for precision, onnx in onnx_files_of(setting, setting.net).items():
            row = {"product": product, "engine": f"{setting.net} {precision}"}
            built = build_here(setting, row, onnx, product=product, name=f"{product}.{precision}")
            yield from compared_rows(setting, row, built, onnx, str(precision))
    yield from absent_rows()


def build_options(setting: Setting) -> Iterator[dict[str, Any]]:
    """Does every option of `build` give an engine that runs, where the product has it?"""
    from resnet_deploy.core.errors import ConfigError
    from resnet_deploy.engine.building.options import BatchProfile, HardwareCompatibility

    one = BatchProfile(min=1, opt=1, max=1)
    choices: dict[str, dict[str, Any]] = {
        "two profiles": {"batches": (one, BatchProfile(min=2, opt=8, max=32))},
        "strip": {"strip": True},
        "refit": {"refit": True},
        "workspace 512 MiB": {"workspace_mib": 512},
        "optimization level 5": {"optimization_level": 5},
        "timing cache": {"timing_cache": setting.folder / "kernel.timings"},
        "timing cache, pinned": {"timing_cache": setting.folder / "kernel.timings", "pin_timing_cache": True},
        "ampere-plus": {"hardware_compatibility": HardwareCompatibility.AMPERE_PLUS},
        "version-compatible": {"version_compatible": True},
    }
    onnx = onnx_files_of(setting, setting.net)
    file = next(file for precision, file in onnx.items() if precision == "fp16")
    for product in installed_products():
        for name, options in choices.items():
            row = {"product": product, "engine": f"{setting.net} fp16", "option": name}
            try:
                built = build_here(
                    setting, row, file, product=product, name=f"{product}.{name.replace(' ', '-')}", **options
                )
            except ConfigError as error:
                yield {**row, "result": f"not run: {error.message}"}
                continue
            yield from compared_rows(setting, row, built, file, "fp16")
    yield from absent_rows()


def cuda_graphs(setting: Setting) -> Iterator[dict[str, Any]]:
    """Are the outputs with and without CUDA graphs the same bits, and what do graphs save?"""
    for product, engine in fp16_engines(setting):
        answers = {}
        for graphs in (True, False):
            with open_subject(setting, engine, cuda_graphs=graphs) as runner:
                answers[graphs] = (
                    answers_of(runner, 1, 3, 8),
                    p50_ms_of(runner, 1),
                    runner.info.cuda_graphs,
                    runner.info.note,
                )
        (with_graphs, graph_ms, used, note), (without, plain_ms, _, _) = answers[True], answers[False]
        same = all(np.array_equal(a, b) for a, b in zip(with_graphs, without, strict=True))
        result = passed(same) if used or setting.rehearse else f"FAILED: no graphs: {note}"
        row = {"product": product, "with, p50 ms": graph_ms, "without, p50 ms": plain_ms}
        yield {**row, "note": note, "result": result}
    yield from absent_rows()


def threads(setting: Setting) -> Iterator[dict[str, Any]]:
    """Do four threads with a runner each, over one engine, get what one thread gets?"""
    from resnet_deploy.core.errors import ResnetDeployError

    for product, engine in fp16_engines(setting):
        with open_subject(setting, engine) as runner:
            expected = answers_of(runner, 1, 4)
            runners = [runner.fork() for _ in range(4)]
            wrong: list[str] = []

            def work(mine: Any, expected: list[np.ndarray] = expected, wrong: list[str] = wrong) -> None:
                try:
                    for _ in range(25):
                        got = answers_of(mine, 1, 4)
                        if not all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True)):
                            wrong.append("other bits")
                except ResnetDeployError as error:  # it must reach the report
                    wrong.append(str(error))
                finally:
                    mine.close()

            begun = time.perf_counter()
            workers = [threading.Thread(target=work, args=(mine,)) for mine in runners]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            seconds = time.perf_counter() - begun
        result = "passed" if not wrong else f"FAILED: {len(wrong)} of 100: {wrong[0]}"
        yield {"product": product, "200 passes in s": seconds, "result": result}
    yield from absent_rows()


def runtime_cache(setting: Setting) -> Iterator[dict[str, Any]]:
    """Does TensorRT-RTX's runtime cache make the second opening shorter, with the same bits?"""
    for product, engine in fp16_engines(setting):
        if product != "tensorrt-rtx" or setting.rehearse:
            yield {"product": product, "result": "not run: it compiles nothing when it is opened here"}
            continue
        cache = setting.folder / "kernels.cache"
        cache.unlink(missing_ok=True)
        seconds, answers = [], []
        for _ in range(2):
            begun = time.perf_counter()
            with open_subject(setting, engine, runtime_cache=cache) as runner:
                answers.append(answers_of(runner, 1, 8))
                seconds.append(time.perf_counter() - begun)
        same = all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))
        row = {"product": product, "first s": seconds[0], "second s": seconds[1], "KiB": cache.stat().st_size / 1024}
        yield {**row, "result": passed(same and seconds[1] < seconds[0])}


def tf32(setting: Setting) -> Iterator[dict[str, Any]]:
    """Is the FP32 engine exact without TF32, and what does TF32 cost and save?"""
    onnx = next(file for precision, file in onnx_files_of(setting, setting.net).items() if precision == "fp32")
    for product in installed_products():
        for allowed in (False, True):
            row = {"product": product, "tf32": allowed}
            built = build_here(setting, row, onnx, product=product, name=f"{product}.tf32-{allowed}", tf32=allowed)
            for found in compared_rows(setting, row, built, onnx, "fp16" if allowed else "fp32"):
                if built is not None and not setting.rehearse:
                    with open_subject(setting, built) as runner:
                        found["p50 ms, batch 8"] = p50_ms_of(runner, 8)
                yield found


def layers(setting: Setting) -> Iterator[dict[str, Any]]:
    """What does the engine inspector say of the INT8 engine, in the layout of each product?"""
    onnx = next(file for precision, file in onnx_files_of(setting, setting.net).items() if precision == "int8")
    for product in installed_products():
        row: dict[str, Any] = {"product": product}
        built = build_here(setting, row, onnx, product=product, name=f"{product}.layers")
        if built is None:
            yield row
            continue
        command = [sys.executable, "-m", "resnet_deploy", "inspect", str(built), "--layers", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        (setting.folder / f"layers.{product}.json").write_text(done.stdout)
        words = done.stderr.strip().splitlines()
        state = "passed" if done.returncode == 0 else f"FAILED: {done.returncode}: {words[-1] if words else ''}"
        if setting.rehearse and done.returncode == 0:
            state = "not run: the expectation from the graph was printed, no engine was asked"
        yield {**row, "written to": f"layers.{product}.json", "result": state}


def preflight(setting: Setting) -> Iterator[dict[str, Any]]:
    """Does `preflight` say that an engine built here fits here?"""
    for product, engine in fp16_engines(setting, stand_in=False):
        command = [sys.executable, "-m", "resnet_deploy", "preflight", str(engine)]
        command += [] if setting.rehearse else ["--require-gpu"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        words = " ".join((done.stderr or done.stdout).split())[-300:]
        state = passed(done.returncode == 0)
        if setting.rehearse and done.returncode == 0:
            state = "not run: there is no GPU to compare with"
        yield {"product": product, "said": words, "exit code": done.returncode, "result": state}


def first_fault(setting: Setting) -> Iterator[dict[str, Any]]:
    """Can an engine be taken apart layer by layer (`diverge`), and is a sound one called sound?"""
    from resnet_deploy.pipeline.faults.divergence import DivergeOptions, diverge

    reference = onnx_files_of(setting, setting.net)["fp32"]
    for product, engine in fp16_engines(setting, stand_in=False):
        if setting.rehearse:
            yield {"product": product, "result": "not run: no engine runs in a rehearsal"}
            continue
        for by in ("block", "layer"):
            out = setting.folder / f"{product}.{by}.divergence.json"
            found = diverge(DivergeOptions(reference=reference, candidate=engine, by=by, num_images=8, out=out))
            worst = min((row.introduced.sqnr_db for row in found.layers), default=None)
            yield {
                "product": product,
                "by": by,
                "layers": len(found.layers),
                "introduced dB, worst": worst,
                "first at fault": found.first,
                "result": passed(not found.first),
            }


Step = Callable[[Setting], Iterator[dict[str, Any]]]

STEPS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "machine": machine,
    "tests": tests,
    "engines": engines,
    "build_options": build_options,
    "cuda_graphs": cuda_graphs,
    "threads": threads,
    "runtime_cache": runtime_cache,
    "tf32": tf32,
    "in_graph": in_graph,
    "cpp": cpp,
    "layers": layers,
    "int8_forms": int8_forms,
    "preflight": preflight,
    "measurement": measurement,
    "latency": latency,
    "roofline": roofline,
    "first_fault": first_fault,
}


def step_of(name: str) -> Step:
    """The function of a step; "latency:resnet18" is latency of that net."""
    step, _, net = name.partition(":")
    return partial(STEPS[step], net=net) if net else STEPS[step]
