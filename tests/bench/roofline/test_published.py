from __future__ import annotations

from dataclasses import replace

import pytest

from resnet_deploy.bench.roofline.published import PublishedRow, compare_published, load_published
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision


def only(**changes):
    """The comparison of one row: a T4 in FP16 at batch 1, 1.26 ms, unless changed."""
    published = load_published()
    base = next(r for r in published.row if (r.gpu, r.precision) == ("t4", Precision.FP16))
    return compare_published(published=replace(published, row=(replace(base, **changes),)))[0]


def test_no_published_measurement_beats_its_bound_without_an_explanation() -> None:
    compared = compare_published()
    assert len(compared) == len(load_published().row) >= 25
    assert all(item.is_explained for item in compared), [i.measured for i in compared if not i.is_explained]
    assert all(item.share > 0.005 for item in compared)  # a bound of another unit would be off by a thousand


def test_the_cache_is_needed_to_explain_a_published_latency() -> None:
    """Embedl's FP16 ResNet-50 on L4 is faster than its memory could move every tensor once."""
    item = next(i for i in compare_published(targets=("l4",)) if i.measured.precision is Precision.FP16)
    assert item.share < 1 < item.dram_share


def test_a_row_that_is_too_fast_beats_its_bound() -> None:
    honest, planted = only(), only(latency_ms=0.1)
    assert honest.share < 1 and honest.is_explained
    assert planted.share > 1 and not planted.is_explained
    assert only(latency_ms=0.1, explanation="another network").is_explained


def test_throughput_that_is_too_high_beats_its_bound() -> None:
    """65.1e12 / 8.18e9 = 7,960 images a second in FP16, whatever the memory does."""
    assert only(latency_ms=None, images_per_second=8000.0).share > 1
    assert only(latency_ms=None, images_per_second=6000.0, batch=None).share < 1


def test_what_a_row_does_not_state_is_taken_at_its_most_favourable() -> None:
    open_row = only(precision=None)
    assert open_row.precision is Precision.INT8 and open_row.share < only().share
    assert only(batch=None).batch == 1  # for a latency
    assert only(batch=8).share > only(batch=None).share


@pytest.mark.parametrize("values", [(None, None), (1.0, 1.0), (-1.0, None)])
def test_a_row_has_one_positive_figure(values: tuple) -> None:
    with pytest.raises(ConfigError, match="expected one positive number"):
        PublishedRow(what="x", gpu="t4", net="resnet50", source="s", latency_ms=values[0], images_per_second=values[1])


def test_rows_are_chosen_by_gpu() -> None:
    assert {item.measured.gpu for item in compare_published(targets=("NVIDIA L4",))} == {"l4"}
