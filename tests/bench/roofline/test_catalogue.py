from __future__ import annotations

import math
from pathlib import Path

import pytest

from resnet_deploy.bench.roofline.catalogue import Figure, figures_of, find_gpu, load_catalogue
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.header import RTX_TARGET_BITS
from resnet_deploy.engine.targets import GPUS

NAMES = load_catalogue().names

# Operations a byte at the ridge, FP16 summed in FP32 and INT8, worked out by hand from the data sheets.
RIDGES = {
    "a2": (91, 181), "rtx5090": (117, 468), "a100": (153, 306), "rtx4090": (164, 655), "t4": (204, 407),
    "h200": (206, 412), "a10": (208, 417), "orin-agx": (208, 416), "h100": (295, 591), "l4": (404, 808),
    "l40s": (424, 848), "thor": (945, 1890), "b200": (281, 563),
}  # fmt: skip

OWN = """
[sources]
sheet = "its data sheet"

[[gpu]]
name = "mine"
title = "My GPU"
aliases = ["l4"]
compute_capability = "8.9"
products = ["tensorrt"]
gb_per_s = { value = 100, source = "sheet" }
memory_gb = { value = 8, source = "sheet" }
l2_mib = { value = 2, source = "sheet", confirmed = false }
watts = { value = 30, source = "sheet" }
[gpu.peaks]
fp32 = { value = 5, source = "sheet" }
fp16 = { value = 20, source = "sheet" }
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_gpu_is_a_build_target_and_served_by_the_product_that_builds_for_it(name: str) -> None:
    gpu = find_gpu(name)
    assert gpu.sm in GPUS
    assert ("tensorrt-rtx" in gpu.products) == (gpu.sm in RTX_TARGET_BITS)
    assert "tensorrt" in gpu.products


@pytest.mark.parametrize("name", NAMES)
def test_peaks_stand_in_the_ratios_that_the_tensor_units_have(name: str) -> None:
    peaks = {key: figure.value for key, figure in figures_of(find_gpu(name))}
    int8_by_fp16 = peaks["int8"] / peaks["fp16"]
    assert int8_by_fp16 == pytest.approx(2, rel=0.02) or int8_by_fp16 == pytest.approx(4, rel=0.02)
    if "tf32" in peaks:
        assert peaks["fp16"] / peaks["tf32"] == pytest.approx(2, rel=0.03)
    if "fp16_half_sums" in peaks:
        assert peaks["fp16_half_sums"] / peaks["fp16"] == pytest.approx(2, rel=0.01)
    if "fp8" in peaks:
        assert max(peaks["fp8"], peaks.get("fp8_half_sums", 0)) == pytest.approx(peaks["int8"], rel=0.01)
        assert float(find_gpu(name).compute_capability) >= 8.9


@pytest.mark.parametrize("name", RIDGES)
def test_the_ridges_are_those_that_were_worked_out_by_hand(name: str) -> None:
    gpu = find_gpu(name)
    ridges = [peak.value * 1e3 / gpu.gb_per_s.value for peak in (gpu.peaks.fp16, gpu.peaks.int8)]
    assert ridges == pytest.approx(RIDGES[name], rel=0.006)  # they are rounded to a whole number, the smallest is 91


def test_a_lower_bound_takes_the_fastest_way_to_compute() -> None:
    gpu = find_gpu("rtx4090")
    assert gpu.peak(Precision.FP16).value == 330.3  # summed in FP16; 165.2 in FP32
    assert gpu.peak(Precision.BF16).value == 165.2
    assert find_gpu("a100").peak(Precision.FP32).value == 19.5
    assert find_gpu("a100").peak(Precision.FP32, tf32=True).value == 156


def test_what_a_gpu_does_not_have_is_none() -> None:
    assert find_gpu("t4").peak(Precision.BF16) is None
    assert find_gpu("t4").peak(Precision.FP32, tf32=True).value == 8.1
    assert find_gpu("a100").peak(Precision.FP8) is None


@pytest.mark.parametrize("text", ["l4", "L4", "NVIDIA L4", " nvidia_l4 "])
def test_a_gpu_is_found_under_its_usual_spellings(text: str) -> None:
    assert find_gpu(text).name == "l4"


def test_an_unknown_gpu_is_refused_with_all_names_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown GPU 'rtx4091', did you mean rtx4090") as refusal:
        find_gpu("rtx4091")
    assert all(name in refusal.value.remedy for name in NAMES)


def test_the_name_of_a_device_leads_to_its_entries() -> None:
    catalogue = load_catalogue()
    assert [gpu.name for gpu in catalogue.find_device("Tesla T4")] == ["t4"]
    assert len(catalogue.find_device("Orin")) == 4
    assert catalogue.find_device("NVIDIA L4 of mine") == ()


def test_a_file_adds_gpus_and_takes_the_place_of_those_of_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    catalogue = load_catalogue(file)
    assert catalogue.find("l4").title == "My GPU" and catalogue.find("t4").name == "t4"
    assert catalogue.find("mine").peak(Precision.INT8) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "sheet" }\nmemory', 'source = "hearsay" }\nmemory', "source 'hearsay' is not under"),
        ("value = 100", "value = 0", "value is 0.0"),
        ('["tensorrt"]', '["tensorrt", "onnx"]', "products are"),
        ("[gpu.peaks]\nfp32", "[gpu.peaks]\nfp33", "fp33"),
        ('aliases = ["l4"]', 'aliases = ["mine"]', "'mine' is there twice"),
    ],
)
def test_a_faulty_file_is_refused_with_the_fault(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OWN
    file = tmp_path / "own.toml"
    file.write_text(OWN.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_catalogue(file)


def test_every_figure_that_is_not_looked_up_is_marked() -> None:
    for gpu in load_catalogue().gpu:
        for name, figure in figures_of(gpu):
            assert isinstance(figure, Figure) and math.isfinite(figure.value)
            assert figure.source != "recalled" or not figure.confirmed, f"{gpu.name}: {name}"
