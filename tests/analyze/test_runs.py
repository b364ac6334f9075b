from __future__ import annotations

import json
from pathlib import Path

import pytest

from resnet_deploy.analyze.networks import distinct_labels
from resnet_deploy.analyze.runs import metrics_file_of, read_run
from resnet_deploy.core.errors import ArtifactError


def rows(*errors: tuple[float | None, float | None], first: int = 1) -> list[dict]:
    """One row an epoch of 100 steps, as training writes them."""
    return [
        {
            "epoch": epoch,
            "step": 100 * epoch,
            "train_loss": 0.5,
            "train_error_percent": train,
            "val_error_percent": test,
            "learning_rate": 0.1,
            "images_per_second": 1000.0,
            "seconds": 1.0,
        }
        for epoch, (train, test) in enumerate(errors, start=first)
    ]


def write(path: Path, *lines: dict | str) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line) + "\n") for line in lines))
    return path


def test_a_run_is_read_with_its_last_and_its_best_errors(tmp_path):
    file = write(tmp_path / "plain20.metrics.jsonl", *rows((50, 60), (20, None), (8.5, 12), (7, 13), (6, None)))
    run = read_run(file, label="a")
    assert run.steps == (100, 200, 300, 400, 500)
    assert run.test_error_percent == (60, None, 12, 13, None)
    assert (run.final_train_error_percent, run.final_test_error_percent) == (6, 13)
    assert (run.best_test_error_percent, run.best_test_step) == (12, 300)
    assert run.notes == ()


@pytest.mark.parametrize(
    "stem, net, residual",
    [
        ("plain20", "plain20", False),
        ("resnet56", "resnet56", True),
        ("resnet20-b.run2", "resnet20-b", True),
        ("plain56_short", "plain56", False),
        ("monday", "", None),
    ],
)
def test_the_net_is_known_from_the_name(tmp_path, stem, net, residual):
    run = read_run(write(tmp_path / f"{stem}.metrics.jsonl", *rows((50, 60))), label="a")
    assert (run.net, run.residual) == (net, residual)


def test_a_folder_stands_for_the_one_run_in_it(tmp_path):
    with pytest.raises(ArtifactError, match=r"is a folder without a \*\.metrics\.jsonl"):
        metrics_file_of(tmp_path)
    file = write(tmp_path / "plain20.metrics.jsonl", *rows((50, 60)))
    assert metrics_file_of(tmp_path) == file
    write(tmp_path / "plain56.metrics.jsonl", *rows((50, 60)))
    with pytest.raises(ArtifactError, match=r"2 metrics files \(plain20\.metrics\.jsonl, plain56\.metrics\.jsonl\)"):
        metrics_file_of(tmp_path)


def test_the_net_is_known_from_the_checkpoint(save_net):
    checkpoint = save_net("plain8", file="monday.safetensors")
    metrics = write(checkpoint.with_name("monday.metrics.jsonl"), *rows((50, 60)))
    assert metrics_file_of(checkpoint) == metrics
    assert read_run(checkpoint, label="a").net == "plain8"
    checkpoint.write_bytes(b"half of the next one")
    assert read_run(metrics, label="a").net == "plain8"


def test_a_last_line_that_was_cut_off_is_left_out_and_said(tmp_path):
    file = write(tmp_path / "a.metrics.jsonl", *rows((50, 60), (40, 50)), '{"epoch": 3, "step": 30')
    run = read_run(file, label="a")
    assert run.steps == (100, 200)
    assert run.notes == ("a.metrics.jsonl: line 3 is cut off and was left out",)


@pytest.mark.parametrize("length", range(1, 60, 7))
def test_wherever_the_last_line_is_cut_the_rest_is_read(tmp_path, length):
    """A number cut short ("step": 30 of 300) must not be taken for a whole one either."""
    file = write(tmp_path / "a.metrics.jsonl", *rows((50, 60)), json.dumps(rows((1, 2), first=3)[0])[:length])
    assert read_run(file, label="a").steps == (100,)


def test_a_last_line_without_its_newline_counts_if_it_is_whole(tmp_path):
    file = write(tmp_path / "a.metrics.jsonl", *rows((50, 60)), json.dumps(rows((1, 2), first=2)[0]))
    run = read_run(file, label="a")
    assert run.steps == (100, 200) and run.notes == ()


def test_epochs_written_again_by_a_resumed_run_count_once(tmp_path):
    again = rows((30, 41), (20, 31), first=2)
    run = read_run(write(tmp_path / "a.metrics.jsonl", *rows((50, 60), (40, 50), (35, 45)), *again), label="a")
    assert run.steps == (100, 200, 300)
    assert run.test_error_percent == (60, 41, 31)
    assert run.notes == ("a.metrics.jsonl goes back from step 300 to 200; the later rows count",)


@pytest.mark.parametrize(
    "lines, message",
    [
        ((), "is empty: no epoch was finished"),
        (("\n",), "is empty"),
        (('{"epoch": 1, "st',), r"line 1 is not JSON .*'\{\"epoch\": 1, \"st'"),
        (("hello\n", rows((1, 2))[0]), "line 1 is not JSON .*'hello'"),
        ((rows((1, 2))[0], "x\n", rows((1, 2))[0]), "line 2 is not JSON"),
        (('{"loss": 1}\n',), "line 1 is no row of training metrics"),
        (("[1, 2]\n",), "line 1 is no row of training metrics"),
        (({**rows((1, 2))[0], "step": "7"},), "line 1: step is '7'"),
        (({**rows((1, 2))[0], "step": 0},), "line 1: step is 0"),
        (({**rows((1, 2))[0], "train_error_percent": 101},), "line 1: train_error_percent is 101"),
        (('{"step": 1, "train_error_percent": NaN}\n',), "line 1: train_error_percent is nan"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_with_its_line(tmp_path, lines, message):
    with pytest.raises(ArtifactError, match=message):
        read_run(write(tmp_path / "a.metrics.jsonl", *lines), label="a")


def test_files_that_are_no_metrics_are_refused(tmp_path, save_net):
    with pytest.raises(ArtifactError, match="nowhere.metrics.jsonl: no such file"):
        metrics_file_of(tmp_path / "nowhere.metrics.jsonl")
    with pytest.raises(ArtifactError, match="nowhere.safetensors: no such file, and no metrics either"):
        metrics_file_of(tmp_path / "nowhere.safetensors")
    with pytest.raises(ArtifactError, match="resnet8.metrics.jsonl is not beside it"):
        metrics_file_of(save_net("resnet8"))
    with pytest.raises(ArtifactError, match="x.csv is neither"):
        metrics_file_of(write(tmp_path / "x.csv", "step,error\n"))
    (tmp_path / "b.metrics.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="b.metrics.jsonl is not a text"):
        read_run(tmp_path / "b.metrics.jsonl", label="b")


@pytest.mark.parametrize(
    "files, labels",
    [
        (["a/x.end", "b/y.end"], ["x", "y"]),
        (["a/x.end", "b/x.end"], ["a/x", "b/x"]),
        (["1/a/x.end", "2/a/x.end", "2/a/y.end"], ["1/a/x", "2/a/x", "y"]),
        (["a/x.end", "a/x.end"], ["x", "x"]),
    ],
)
def test_labels_tell_files_apart_with_as_little_as_that_takes(files, labels):
    assert distinct_labels([Path(f) for f in files], suffix=".end") == labels
