"""The steps of `gpu_check` that time things: forms of INT8, whole networks, `bench` itself, and the roofline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpu_subjects import (
    Setting,
    build_here,
    fp16_engines,
    installed_products,
    onnx_files_of,
    open_subject,
    p50_ms_of,
    passed,
)

_TORCH_BACKENDS = ("torch", "torch-fp16", "torch-compile", "torch-compile-fp16")


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
            "mJ/image": None if row.energy.joules_per_image is None else 1e3 * row.energy.joules_per_image,
            "energy": row.energy.source or row.energy.reason,
        }
        found["not valid"] = "; ".join(row.validity.reasons)
        seen = trace is not None and trace.num_readings > 0
        yield {**found, "result": passed(seen or row.device == "cpu")}
    for pair in bench(BenchOptions(targets=(targets[0],) * 2, interleave=True, **common)).interleaved:
        yield {"mode": "turns, a file against itself", "batch": pair.batch, "said": pair.says, "result": passed(not pair.ratio.differs)}  # fmt: skip


def roofline(setting: Setting) -> Iterator[dict[str, Any]]:
    """Does a row that `latency` measured beat its roofline bound, and what share of it is reached?"""
    from resnet_deploy.bench.roofline.estimate import EstimateOptions, estimate

    files = sorted(setting.folder.glob("latency.*.bench.json"))
    if not files:
        yield {"result": "not run: the step latency has to run first"}
    for file in files:
        for row in estimate(EstimateOptions(measured=file)).measured:
            found = {"net": row.net, "backend": row.backend, "precision": row.precision, "batch": row.batch}
            if row.latency_share is None:
                yield {**found, "result": f"not run: {row.reason}"}
                continue
            shares = {"of the latency bound": row.latency_share, "of the throughput bound": row.throughput_share}
            yield {**found, "p50 ms": row.p50_ms, **shares, "result": passed(max(shares.values()) <= 1)}
