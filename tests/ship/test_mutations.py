"""No damaged or hostile bundle gets through, and none crashes the reader."""

from __future__ import annotations

import os
import shutil

import pytest

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.pipeline.bundle.verify import VerifyOptions, verify_bundle
from resnet_deploy.ship.archive import unpack, write_archive
from tests.ship.archive_mutations import NUM_KINDS, mutate_archive
from tests.ship.mutations import Verdict, mutate

FEW, MANY = 164, 2000


def outcome(path) -> bool:
    """Whether a bundle passes; every other end than an answer or ArtifactError is a failure of the test."""
    try:
        return verify_bundle(VerifyOptions(path=path)).passed
    except ArtifactError:
        return False


def check_bundles(sound, folder, seeds):
    faults, before = [], snapshot(sound)
    for seed in seeds:
        path = folder / f"{seed}.bundle"
        made = mutate(sound, path, seed)
        passed = outcome(path)
        if passed and made.verdict in (Verdict.REJECT, Verdict.REJECT_ON_RUN):
            faults.append(f"{seed} passed: {made.description}")
        if not passed and made.verdict is Verdict.HARMLESS:
            faults.append(f"{seed} was refused: {made.description}")
        shutil.rmtree(path)
    assert not faults
    assert snapshot(sound) == before, "a mutation reached the sound bundle"


def snapshot(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_archives(sound, folder, seeds):
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    for place in (folder, folder / "a", inner):
        (place / "canary.txt").write_text("untouched")
    before, accepted = snapshot(folder), []
    archive = folder.parent / f"{folder.name}.tar.gz"
    for seed in seeds:
        description = mutate_archive(sound, archive, seed)
        try:
            unpack(archive, inner / "out.bundle")
            accepted.append(f"{seed}: {description}")
        except ArtifactError:
            pass
        assert snapshot(folder) == before, f"{seed} wrote outside of its folder: {description}"
        assert not os.path.lexists(inner / "out.bundle")
    assert not accepted


def test_mutated_bundles_are_refused_or_harmless(sound, tmp_path):
    check_bundles(sound, tmp_path, range(FEW))


@pytest.mark.slow
def test_many_mutated_bundles_are_refused_or_harmless(sound, tmp_path):
    check_bundles(sound, tmp_path, range(FEW, FEW + MANY))


def test_mutated_archives_are_refused_and_write_nothing(sound, tmp_path):
    check_archives(sound, tmp_path / "here", range(3 * NUM_KINDS))


@pytest.mark.slow
def test_many_mutated_archives_are_refused_and_write_nothing(sound, tmp_path):
    check_archives(sound, tmp_path / "here", range(3 * NUM_KINDS, 3 * NUM_KINDS + 500))


def test_the_checks_of_this_file_can_fail(sound, tmp_path, monkeypatch):
    """With a reader that takes everything, each of them does."""
    monkeypatch.setattr("tests.ship.test_mutations.outcome", lambda path: True)
    with pytest.raises(AssertionError, match="passed: "):
        check_bundles(sound, tmp_path, range(3))
    monkeypatch.setattr("tests.ship.test_mutations.outcome", lambda path: False)
    with pytest.raises(AssertionError, match="was refused: "):
        check_bundles(sound, tmp_path, range(41))
    monkeypatch.setattr(
        "tests.ship.test_mutations.unpack", lambda archive, out: (out / "../canary.txt").resolve().unlink()
    )
    with pytest.raises(AssertionError, match="wrote outside"):
        check_archives(sound, tmp_path / "here", range(1))


def test_an_archive_that_was_not_damaged_is_unpacked(sound, tmp_path):
    unpack(write_archive(sound, tmp_path / "a.tar.gz"), tmp_path / "out.bundle")
    assert snapshot(tmp_path / "out.bundle") == snapshot(sound)
