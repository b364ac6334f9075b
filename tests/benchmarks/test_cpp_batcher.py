"""The batcher's benchmark: its bundle is one that a reader takes, and its table is of the rounds' medians."""

from __future__ import annotations

import sys

import pytest

from resnet_deploy.ship.manifest_file import read_bundle_manifest


def test_the_made_up_bundle_is_a_bundle(tmp_path) -> None:
    from cpp_batcher import FAKE_PASS_US, make_fake_bundle

    folder = make_fake_bundle(tmp_path / "fake.bundle")
    manifest, _ = read_bundle_manifest(folder)
    assert {entry.path for entry in manifest.files} | {"bundle.json"} == {path.name for path in folder.iterdir()}
    assert (folder / "model.onnx").read_text() == f"fake:\ndelay_us={FAKE_PASS_US}\n"


def test_each_network_is_run_in_every_way(tmp_path) -> None:
    from cpp_batcher import cases_of

    cases = cases_of(tmp_path / "fake", [tmp_path / "net"], 2)
    ways = {(case["way"], case["max_delay_us"], case["threads"]) for case in cases if case["device"] == "openvino"}
    assert ways == {("own", 0, 1), ("shared", 0, 2), ("batcher", 0, 2), ("batcher", 2000, 2)}
    rates = {case["rate"] for case in cases if case["device"] == "fake"}
    assert rates == {0, 100, 180, 800}


def test_a_row_is_the_median_of_its_rounds() -> None:
    from cpp_batcher import summary_of

    rounds = [
        {"requests_per_s": rate, "p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": p99, "mean_batch": 4.0, "runtime": "fake 1"}
        for rate, p99 in ((90.0, 9.0), (100.0, 3.0), (120.0, 5.0))
    ]
    row = summary_of(rounds)
    assert (row["requests_per_s"], row["p99_ms"], row["requests_per_s_range"]) == (100.0, 5.0, [90.0, 120.0])


def test_the_program_gets_its_arguments_and_its_errors_are_shown(tmp_path) -> None:
    from cpp_batcher import cases_of, measure

    program = tmp_path / "batcher_load"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "if sys.argv[2] == 'own': sys.exit('no such backend')\n"
        "print(json.dumps({'given': sys.argv[1:]}))\n"
    )
    program.chmod(0o755)
    cases = cases_of(tmp_path / "fake", [tmp_path / "net"], 2)
    given = measure(program, next(c for c in cases if c["way"] == "batcher" and c["rate"] == 800), 1.5)["given"]
    assert given == [str(tmp_path / "fake"), "batcher", "8", "1.5", "800", "8", "0", "0", "fake"]
    with pytest.raises(SystemExit, match="no such backend"):
        measure(program, next(c for c in cases if c["way"] == "own"), 1.5)
