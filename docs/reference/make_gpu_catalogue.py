"""Writes gpu-catalogue.md from the catalogue that `estimate` reads; run it after a change of gpus.toml."""

from __future__ import annotations

from pathlib import Path

from resnet_deploy.bench.roofline.catalogue import Catalogue, Figure, Gpu, Peaks, load_catalogue
from resnet_deploy.engine.targets import GPUS

PAGE = Path(__file__).resolve().with_name("gpu-catalogue.md")
_HEAD = """# GPUs that `resnet-deploy estimate` knows

Written by `python docs/reference/make_gpu_catalogue.py` from `resnet_deploy/bench/roofline/gpus.toml`; how the figures are
used is in [the guide](../guides/estimate.md).

Peaks are dense (no sparsity), in 1e12 operations a second, two operations a multiply-add, at the boost clock of the data
sheet. A GPU that clocks higher can beat a bound by as much. *FP16, FP16 sums* and *FP8, FP16 sums*: where summing in FP16
is faster than in FP32; a lower bound takes the faster one. Bandwidth in 1e9 bytes a second. **?**: no source says the
figure itself, or it was not checked; treat every bound that uses it as a guess. A number in brackets is its source. Most
data sheets were read through others who quote them, which the list of sources says; correct a figure by a better source.
"""
_COLUMNS = {
    "FP32": "fp32", "TF32": "tf32", "FP16": "fp16", "FP16, FP16 sums": "fp16_half_sums", "INT8": "int8", "FP8": "fp8",
    "FP8, FP16 sums": "fp8_half_sums",
}  # fmt: skip
_OTHERS = {"GB/s": "gb_per_s", "GB": "memory_gb", "L2 MiB": "l2_mib", "W": "watts"}


def page_of(catalogue: Catalogue) -> str:
    """The whole page as Markdown."""
    numbers = {key: number for number, key in enumerate(catalogue.sources, start=1)}
    heads = ("--target", "GPU", "compute capability", "TensorRT products", *_COLUMNS, *_OTHERS)
    lines = [_HEAD, f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(_cells(gpu, numbers))} |" for gpu in catalogue.gpu]
    lines += ["", "## Names and notes", ""]
    for gpu in catalogue.gpu:
        also = f"; also `{'`, `'.join(gpu.aliases)}`" if gpu.aliases else ""
        note = f". {gpu.note[0].upper()}{gpu.note[1:]}" if gpu.note else ""
        lines.append(f"- `{gpu.name}`{also} ({gpu.sm}: {GPUS[gpu.sm]}){note}.")
    lines += ["", "## Sources", ""]
    lines += [f"{number}. {catalogue.sources[key]}." for key, number in numbers.items()]
    return "\n".join(lines) + "\n"


def _cells(gpu: Gpu, numbers: dict[str, int]) -> list[str]:
    peaks: Peaks = gpu.peaks
    return [
        f"`{gpu.name}`",
        gpu.title,
        gpu.compute_capability,
        ", ".join(gpu.products),
        *(_cell(getattr(peaks, name), numbers) for name in _COLUMNS.values()),
        *(_cell(getattr(gpu, name), numbers) for name in _OTHERS.values()),
    ]


def _cell(figure: Figure | None, numbers: dict[str, int]) -> str:
    if figure is None:
        return "-"
    return f"{figure.value:g}{'' if figure.confirmed else ' **?**'} [{numbers[figure.source]}]"


if __name__ == "__main__":
    PAGE.write_text(page_of(load_catalogue()), encoding="utf-8")
