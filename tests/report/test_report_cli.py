"""`report` as it is typed."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from tests.report.test_report import save_verdict


def run(*arguments: object):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_the_page_goes_into_the_folder_and_its_answer_to_stdout(tmp_path: Path) -> None:
    save_verdict(tmp_path)
    done = run(tmp_path)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "Can it be shipped? Yes. Its verdict passed."
    assert f"report: {tmp_path / 'report.html'}" in done.stdout.replace("\n", "")
    assert f"<title>Report on {tmp_path.name}</title>" in (tmp_path / "report.html").read_text()


def test_json_is_one_document(tmp_path: Path) -> None:
    save_verdict(tmp_path)
    done = run(tmp_path, "--json", "--out", tmp_path / "other.html", "--figures", tmp_path / "pictures")
    found = json.loads(done.stdout)
    assert found["file"] == str(tmp_path / "other.html") and len(found["figures"]) == 3
    assert "12 files" not in done.stderr and "3 files" in done.stderr.replace("\n", "")


@pytest.mark.parametrize("has_browser", [True, False])
def test_open_shows_the_page_or_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_browser: bool
) -> None:
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or has_browser)
    done = run(tmp_path, "--open")
    assert done.exit_code == 0 and opened == [(tmp_path / "report.html").as_uri()]
    assert ("no browser on this machine" in done.stderr) == (not has_browser)


def test_a_folder_that_is_not_there_is_wrong_input(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere")
    assert done.exit_code == 2 and "no such folder" in done.stderr and not done.stdout


def test_a_failed_verdict_is_reported_and_is_no_failure_of_the_report(tmp_path: Path) -> None:
    save_verdict(tmp_path, passed=False)
    done = run(tmp_path)
    assert done.exit_code == 0 and "No. 1 of 1 verdict FAILED" in done.stdout.replace("\n", " ")
