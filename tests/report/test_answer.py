"""Can it be shipped: never "yes" for what was not run, proven, or is not the file that was judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.core.specs import Precision
from resnet_deploy.report.answer import Answer, answer_of
from resnet_deploy.report.chain import find_chain
from resnet_deploy.report.gather import gather
from resnet_deploy.report.networks import find_networks
from resnet_deploy.verify.statistics.result import Conclusion
from tests.report.documents import NET, make_side, make_statistics, make_verdict, save


def answer(folder: Path) -> Answer:
    findings = gather(folder)
    return answer_of(find_networks(findings), find_chain(findings.entries))


def make_files(folder: Path, *, engine: bool = False) -> None:
    names = ["resnet20.int8.onnx", *(["resnet20.int8.engine"] if engine else [])]
    for name, kind in zip(names, ("onnx", "engine"), strict=False):
        (folder / name).write_bytes(name.encode())
        given = {"net": NET, "precision": Precision.INT8, "details": {"weights": "trained"}}
        write_manifest(folder / name, kind=kind, stage="test", **given)


def judge(folder: Path, name: str = "resnet20.int8.onnx", **changes: object) -> None:
    side = make_side(name, "int8", 99.33, sha256=read_manifest(folder / name).sha256)
    file = folder / f"{name}.verdict.json"
    verdict = make_verdict(file, **{"candidate": side, **changes})
    save(verdict, file, kind="verdict", stage="validate", net=NET, inputs={"candidate": folder / name})


def test_without_a_verdict_nothing_is_known(tmp_path: Path) -> None:
    make_files(tmp_path)
    assert (answer(tmp_path).tone, answer(tmp_path).text) == ("warn", "Not known")


def test_a_passed_verdict_on_all_there_is_allows_it(tmp_path: Path) -> None:
    make_files(tmp_path)
    judge(tmp_path)
    assert answer(tmp_path) == Answer(tone="good", text="Yes", why="Its verdict passed.")


def test_an_engine_needs_a_verdict_of_its_own(tmp_path: Path) -> None:
    make_files(tmp_path, engine=True)
    judge(tmp_path)
    found = answer(tmp_path)
    assert found.tone == "warn" and found.text.startswith("Almost") and "to prove the engine" in found.why
    judge(tmp_path, "resnet20.int8.engine")
    assert answer(tmp_path) == Answer(tone="good", text="Yes", why="All 2 verdicts passed, on the engines themselves.")


def test_a_failed_verdict_forbids_it_with_its_reason(tmp_path: Path) -> None:
    make_files(tmp_path)
    checks = (replace(make_verdict(tmp_path).checks[0], value=0.2, passed=False),)
    judge(tmp_path, passed=False, checks=checks)
    found = answer(tmp_path)
    assert (found.tone, found.text) == ("bad", "No") and "cosine 0.2, wanted >= 0.95" in found.why


def test_a_loss_that_is_not_proven_is_only_probably_fine(tmp_path: Path) -> None:
    make_files(tmp_path)
    statistics = make_statistics()
    decision = replace(statistics.decision, conclusion=Conclusion.UNDECIDED)
    judge(tmp_path, statistics=replace(statistics, decision=decision))
    found = answer(tmp_path)
    assert (found.tone, found.text) == ("warn", "Probably") and "resnet20.int8.onnx" in found.why
    judge(tmp_path, statistics=statistics)
    assert answer(tmp_path).text == "Yes"


def test_a_changed_file_forbids_it_whatever_the_verdicts_say(tmp_path: Path) -> None:
    make_files(tmp_path)
    judge(tmp_path)
    (tmp_path / "resnet20.int8.onnx").write_bytes(b"changed")
    found = answer(tmp_path)
    assert found.tone == "bad" and "1 link of the chain of files is broken (resnet20.int8.onnx)" in found.why
