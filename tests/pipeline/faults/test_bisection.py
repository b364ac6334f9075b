"""Which layers to exchange, found on files with one fault, with two, and with none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.pipeline.faults import hybrid_scores
from resnet_deploy.pipeline.faults.bisection import BisectOptions, bisect
from resnet_deploy.verify.faults.bisection_result import Bisection, bisection_path, read_bisection
from tests.reference.faulty_networks import plant

RUNNER = CliRunner()
FOUR = {"layer2__0__conv2__weight__scale": lambda scale: 4 * scale}


def _bisect(chain, candidate="bad.onnx", **others) -> Bisection:
    given = {"data": str(chain / "images"), "limit": 0.65, "num_threads": 1}
    reference = chain / "net.fp32.onnx"
    return bisect(BisectOptions(reference=reference, candidate=chain / candidate, **(given | others)))


def test_one_fault_is_found_requantised_without_it_and_scored(chain) -> None:
    plant(chain / "net.int8.onnx", chain / "bad.onnx", **FOUR)
    found = _bisect(chain)
    assert found and found.blocks == ("layer2.0",) and found.layers == ("layer2.0.conv2",)
    assert found.candidate_score.agreement < 0.65 <= found.hybrid_score.agreement
    # 7 blocks and 6 layers: nothing, all, then 2 log2(n) + 2 of each at most
    assert found.num_units["blocks"] == 7 and found.num_evaluations == len(found.evaluations) <= 2 + 8 + 8
    assert found.requantized == str(chain / "bad.bisected.onnx")
    assert found.requantized_score.agreement >= 0.65
    assert read_manifest(chain / "bad.bisected.onnx").options["exclude"] == ["layer2.0.conv2"]
    weights = {node.name: node.input[1] for node in read_onnx(chain / "bad.bisected.onnx").graph.node if node.input[1:]}
    assert weights["layer2.0.conv2"] == "layer2.0.conv2.weight"  # in float
    assert weights["layer2.0.conv1"] == "layer2.0.conv1.weight.dq"


def test_two_faults_are_found_though_repairing_one_does_not_help(chain) -> None:
    both = FOUR | {"layer1__0__conv3__weight__scale": lambda scale: -4 * scale}
    plant(chain / "net.int8.onnx", chain / "bad.onnx", **both)
    found = _bisect(chain, requantize=False)
    assert set(found.layers) == {"layer1.0.conv3", "layer2.0.conv2"} and found.is_irreducible
    assert found.requantized == "" and found.requantized_score is None
    tried = {evaluation.replaced for evaluation in found.evaluations if not evaluation.passed}
    assert {("layer1.0.conv3",), ("layer2.0.conv2",)} <= tried


def test_a_perturbed_block_of_an_fp32_file_is_found_without_labels(chain) -> None:
    def perturbed(weight: np.ndarray) -> np.ndarray:
        return weight + 2 * weight.std() * np.random.default_rng(0).standard_normal(weight.shape)

    names = {f"layer1__1__conv{i}__weight": perturbed for i in (1, 2, 3)}
    plant(chain / "net.fp32.onnx", chain / "bad.onnx", **names)
    found = _bisect(chain, limit=0.99)
    assert found.blocks == ("layer1.1",) and set(found.layers) <= {f"layer1.1.conv{i}" for i in (1, 2, 3)}
    assert found.requantized == "" and any("not made by `quantize`" in note for note in found.notes)
    assert found.hybrid_score.drop is None


def test_a_candidate_within_its_limit_costs_one_evaluation(chain) -> None:
    found = _bisect(chain, "net.int8.onnx")
    assert found and found.layers == () and found.num_evaluations == 1
    assert any("within the limit as it is" in note for note in found.notes)


def test_a_search_that_is_cut_short_says_so_and_still_holds_the_limit(chain) -> None:
    plant(chain / "net.int8.onnx", chain / "bad.onnx", **FOUR)
    found = _bisect(chain, max_evaluations=4, requantize=False)
    assert not found.is_irreducible and found.met and found.num_evaluations == 4
    assert "layer2.0.conv2" in found.layers and len(found.layers) > 1


def test_an_interrupted_search_goes_on_with_the_scores_it_had(chain, monkeypatch) -> None:
    plant(chain / "net.int8.onnx", chain / "bad.onnx", **FOUR)
    real, runs = hybrid_scores.compare_logits, []

    def dying(*arguments):
        runs.append(arguments)
        if len(runs) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(hybrid_scores, "compare_logits", dying)
    with pytest.raises(KeyboardInterrupt):
        _bisect(chain, requantize=False)
    found = _bisect(chain, requantize=False)
    assert found.num_reused == 3 and len(runs) - 4 == found.num_evaluations - 3
    assert found.layers == ("layer2.0.conv2",) and not list(chain.glob("*.jsonl"))
    again = _bisect(chain, requantize=False)
    assert again.skipped and again.layers == found.layers
    assert read_bisection(bisection_path(chain / "bad.onnx")).evaluations == found.evaluations


def test_what_can_not_be_searched_is_refused(chain) -> None:
    with pytest.raises(ConfigError, match="metric top1 needs labels"):
        _bisect(chain, "net.int8.onnx", metric="top1", limit=0.5)
    with pytest.raises(ConfigError, match=r"net\.engine is none"):
        _bisect(chain, "net.engine")
    with pytest.raises(ConfigError, match="limit of agreement is 3"):
        _bisect(chain, limit=3)


def test_the_command_prints_the_words_for_quantize(chain) -> None:
    plant(chain / "net.int8.onnx", chain / "bad.onnx", **FOUR)
    words = ["bisect", str(chain / "bad.onnx"), "-r", str(chain / "net.fp32.onnx"), "--data", str(chain / "images")]
    words += ["--threads", "1", "--min-agreement", "0.65"]
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "--exclude layer2.0.conv2" in done.stdout and "bad.bisected.onnx" in done.stdout
    done = RUNNER.invoke(app, [*words, "--json"])
    assert json.loads(done.stdout)["layers"] == ["layer2.0.conv2"]
    done = RUNNER.invoke(app, [*words, "--metric", "top1"])
    assert done.exit_code == 2 and "--min-agreement does not limit top1" in done.stderr
    done = RUNNER.invoke(app, [*words[:4]])
    assert done.exit_code == 2 and "no images were named" in done.stderr
