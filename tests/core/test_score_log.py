from __future__ import annotations

import pytest

from resnet_deploy.core.score import Score
from resnet_deploy.core.score_log import ScoreLog, score_key


def _score(agreement: float) -> Score:
    return Score(
        num_images=10,
        num_agreeing=round(10 * agreement),
        agreement=agreement,
        agreement_low=0.0,
        agreement_high=1.0,
        num_nonfinite=0,
        sqnr_db=None,
    )


def test_a_score_is_measured_once_and_survives_a_line_that_was_cut_off(tmp_path) -> None:
    path = tmp_path / "scores.jsonl"
    assert ScoreLog(path).score("a", lambda: _score(0.5)).agreement == 0.5
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"key": "b", "sco')  # killed while writing
    log = ScoreLog(path)
    assert log.score("a", pytest.fail).agreement == 0.5 and log.num_reused == 1
    assert log.score("b", lambda: _score(0.75)).agreement == 0.75
    assert ScoreLog(path).score("b", pytest.fail).agreement == 0.75
    log.remove()
    assert not path.exists()


def test_the_key_changes_with_every_part() -> None:
    keys = {score_key("net", ("a",)), score_key("net", ("a", "b")), score_key("other", ("a",)), score_key("net", ())}
    assert len(keys) == 4 and score_key("net", ("a",)) in keys
