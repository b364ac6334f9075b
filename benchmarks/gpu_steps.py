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
)

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
        yield {"what": "libcuda against nvidia-smi", "got": f"{own} / {line}", "result": _passed(same)}
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
        result = _passed(same) if used or setting.rehearse else f"FAILED: no graphs: {note}"
        yield {
            "product": product,
            "with, p50 ms": graph_ms,
            "without, p50 ms": plain_ms,
            "note": note,
            "result": result,
        }
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
        yield {**row, "result": _passed(same and seconds[1] < seconds[0])}


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


def int8_forms(setting: Setting) -> Iterator[dict[str, Any]]:
    """Which way of writing INT8 convolutions is fast in TensorRT-RTX? See docs/reference/tensorrt-rtx-fusion.md."""
    import onnx
    from rtx_fusion import FORMS, write_form

    if "tensorrt-rtx" not in installed_products():
        yield {"form": "all", "result": "not run: tensorrt-rtx is not installed"}
        return
    for name in FORMS:
        row: dict[str, Any] = {"form": name}
        file = setting.folder / "nets" / f"form.{name}.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(write_form(name), file)
        built = build_here(setting, row, file, product="tensorrt-rtx", name=f"form.{name}")
        row.pop("sanity gate", None)  # of two convolutions
        if built is not None and setting.rehearse:
            row["result"] = "not run: built"
        elif built is not None:
            with open_subject(setting, built) as runner:
                row |= {f"p50 us, batch {batch}": 1e3 * p50_ms_of(runner, batch) for batch in (1, 8, 32)}
            row["result"] = "passed"
        yield row


def preflight(setting: Setting) -> Iterator[dict[str, Any]]:
    """Does `preflight` say that an engine built here fits here?"""
    for product, engine in fp16_engines(setting, stand_in=False):
        command = [sys.executable, "-m", "resnet_deploy", "preflight", str(engine)]
        command += [] if setting.rehearse else ["--require-gpu"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        words = " ".join((done.stderr or done.stdout).split())[-300:]
        state = _passed(done.returncode == 0)
        if setting.rehearse and done.returncode == 0:
            state = "not run: there is no GPU to compare with"
        yield {"product": product, "said": words, "exit code": done.returncode, "result": state}


def latency(setting: Setting, net: str) -> Iterator[dict[str, Any]]:
    """Latency: engines against torch eager, torch.compile and ONNX Runtime, one after the other in one run."""
    from resnet_deploy.bench.measure.timing import Sampling
    from resnet_deploy.bench.run import BenchOptions, BenchTarget, bench

    onnx = onnx_files_of(setting, net)
    checkpoint = next(iter(onnx.values())).with_name(f"{net}.safetensors")
    torch_backends = ("torch", "torch-compile") if setting.rehearse else _TORCH_BACKENDS
    targets = [BenchTarget(file=checkpoint, backend=backend) for backend in torch_backends]
    for precision, file in onnx.items():
        if precision == "fp32" or not setting.rehearse:
            targets.append(BenchTarget(file=file, backend="onnxruntime"))
        for product in installed_products():
            built = build_here(setting, {}, file, product=product, name=f"{net}.{product}.{precision}")
            if built is not None:
                targets.append(BenchTarget(file=built))
    sampling = Sampling(min_seconds=setting.seconds, max_seconds=max(6 * setting.seconds, 1.0))
    out = setting.folder / f"latency.{net}.bench.json"
    rows = bench(BenchOptions(targets=tuple(targets), out=out, batches=setting.batches, sampling=sampling)).rows
    eager = {row.batch: row.timing.p50_ms for row in rows if row.backend == "torch" and row.timing is not None}
    for row in rows:
        found = {"backend": row.backend, "precision": str(row.precision or ""), "batch": row.batch}
        if row.timing is None:
            yield {**found, "result": row.reason}
            continue
        timing = row.timing
        times = {"p50 ms": timing.p50_ms, "p99 ms": timing.p99_ms, "images/s": timing.images_per_second}
        ratio = eager[row.batch] / timing.p50_ms if row.batch in eager else float("nan")
        yield {**found, **times, "x torch eager": ratio, "noise": timing.noise, "result": "passed"}


def measurement(setting: Setting) -> Iterator[dict[str, Any]]:
    """What `bench` makes of the GPU: NVML's readings and energy, its verdict on the machine, workers, requests, turns."""
    from resnet_deploy.bench.measure.timing import Sampling
    from resnet_deploy.bench.options import BenchOptions, BenchTarget
    from resnet_deploy.bench.run import bench

    onnx = onnx_files_of(setting, setting.net)
    targets = [BenchTarget(file=engine) for _, engine in fp16_engines(setting, stand_in=False)]
    if setting.rehearse or not targets:
        targets = [BenchTarget(file=onnx["fp32"], backend="onnxruntime")]
    sampling = Sampling(min_seconds=2 * setting.seconds, max_seconds=max(12 * setting.seconds, 1.0))
    out = setting.folder / "measurement.bench.json"
    common = {"out": out, "sampling": sampling, "batches": setting.batches[:2]}
    rows = bench(BenchOptions(targets=tuple(targets), modes=("kernel", "application"), workers=(1, 2), **common)).rows
    for row in rows:
        found = {"backend": row.backend, "mode": row.mode, "batch": row.batch, "workers": row.workers}
        if row.timing is None:
            yield {**found, "result": row.reason}
            continue
        trace = row.conditions.gpu
        found |= {"p50 ms": row.timing.p50_ms, "images/s": row.timing.images_per_second, "A/A": row.timing.noise_floor}
        if trace is not None:
            found |= {"readings": trace.num_readings, "SM MHz": trace.sm_mhz_median, "W": trace.power_w_mean}
            found |= {"GPU %": trace.utilization_percent, "other processes": trace.num_other_processes}
        found |= {
            "mJ/image": 1e3 * (row.energy.joules_per_image or 0.0),
            "energy": row.energy.source or row.energy.reason,
        }
        found["not valid"] = "; ".join(row.validity.reasons)
        seen = trace is not None and trace.num_readings > 0
        yield {**found, "result": _passed(seen or row.device == "cpu")}
    for pair in bench(BenchOptions(targets=(targets[0],) * 2, interleave=True, **common)).interleaved:
        yield {"mode": "turns, a file against itself", "batch": pair.batch, "said": pair.says, "result": _passed(not pair.ratio.differs)}  # fmt: skip


_TORCH_BACKENDS = ("torch", "torch-fp16", "torch-compile", "torch-compile-fp16")

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
    "layers": layers,
    "int8_forms": int8_forms,
    "preflight": preflight,
    "measurement": measurement,
    "latency": latency,
}


def step_of(name: str) -> Step:
    """The function of a step; "latency:resnet18" is latency of that net."""
    step, _, net = name.partition(":")
    return partial(STEPS[step], net=net) if net else STEPS[step]


def _passed(good: bool) -> str:
    return "passed" if good else "FAILED"
