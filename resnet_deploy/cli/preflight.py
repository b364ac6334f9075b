"""`resnet-deploy preflight`: will these files run on this machine."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode

_ALWAYS_SHOWN = ("GPU", "library", "fallback")


def command(
    file: Annotated[
        list[str],
        typer.Argument(help="Files, folders or patterns, e.g. 'bundle/*'; manifests are read with their files."),
    ],
    asked_for: Annotated[
        Optional[list[str]],
        typer.Option(
            "--for",
            help="Ask for these GPUs, which need not be here, e.g. sm89 or 8.6,8.9 (or the option once for each).",
        ),
    ] = None,
    library: Annotated[
        Optional[list[Path]],
        typer.Option(
            help="TensorRT library of the application, to take its version from; without it, the Python package and "
            "the loader's path are looked at."
        ),
    ] = None,
    require_gpu: Annotated[
        bool, typer.Option("--require-gpu", help="Exit code 3 where there is no GPU to ask.")
    ] = False,
    any_engine: Annotated[
        bool, typer.Option("--any", help="One engine that fits is enough: a bundle with an engine for each GPU.")
    ] = False,
    json: JSON = False,
) -> None:
    """Say whether files are whole and would run here; needs no NVIDIA library and runs nothing.

    Exit code 0 where all fits, as far as can be told here; 1 where something is damaged or does not fit; 2 where
    there is nothing to check.
    """
    from resnet_deploy.engine.preflight.run import PreflightOptions, run_preflight

    gpus = tuple(part.strip() for one in asked_for or () for part in one.split(",") if part.strip())
    if gpus and require_gpu:
        raise ConfigError(
            "--for asks for GPUs that need not be here, --require-gpu for one that is", remedy="leave one away"
        )
    options = PreflightOptions(files=tuple(file), asked_for=gpus, libraries=tuple(library or ()), any_engine=any_engine)
    found = run_preflight(options)
    if json:
        print_json(_document(found))
    else:
        _show(found)
    note(_summary(found))
    if not found.passed:
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if require_gpu and found.lacks_gpu:
        note(f"--require-gpu: {found.driver.reason}")
        raise typer.Exit(ExitCode.MISSING)


def _document(found) -> dict:
    from resnet_deploy.core.config import to_plain

    files = [
        {**to_plain(one), "state": str(one.state), "remedy": one.remedy, "not_checked": list(one.not_checked)}
        for one in found.files
    ]
    return {"passed": found.passed, "summary": _summary(found), **to_plain(found), "files": files}


def _show(found) -> None:
    rows = [row for answer in found.files for row in _rows(answer)]
    print_data(table(_title(found), ("file", "what", "answer", "found"), rows, left=4))
    for answer in found.files:
        if answer.remedy:
            command = f", or build it again:\n  {answer.rebuild}" if answer.rebuild else ""
            typer.echo(f"{answer.file}: {answer.remedy}{command}")  # a command is one line however narrow the terminal


def _rows(answer) -> list[tuple[str, str, str, str]]:
    """The file and its first answer, then a row for each that an installer acts on; the plainly good share one."""
    first, *others = answer.checks
    rows = [(answer.file, answer.kind, str(answer.state), "")]
    plain = [one for one in others if one.state == "good" and not one.subject.startswith(_ALWAYS_SHOWN)]
    rows.append(("", f"  {first.subject}", str(first.state), first.text))
    if plain:
        rows.append(("", f"  {', '.join(one.subject for one in plain)}", "good", ""))
    rows += [("", f"  {one.subject}", str(one.state), one.text) for one in others if one not in plain]
    if len(rows) == 2:  # one answer is the answer
        return [(answer.file, answer.kind, str(answer.state), first.text)]
    return rows


def _title(found) -> str:
    if found.asked_for:
        return f"Preflight for {', '.join(map(str, found.gpus))}"
    here = ", ".join(map(str, found.gpus)) or found.driver.reason
    driver = f", driver for CUDA {found.driver.version}" if found.driver.version else ""
    return f"Preflight on this machine: {here}{driver}"


def _summary(found) -> str:
    """One line: what an installer's log should hold."""
    failed = found.failed
    if failed:
        named = "; ".join(f"{one.file} {_verb(one)}" for one in failed[:3]) + ("; ..." if len(failed) > 3 else "")
        usable = [one.file for one in found.files if one.kind == "engine" and not one.state.failed]
        rest = f". Of the engines, good: {', '.join(usable)}" if usable else ""
        return f"preflight failed for {len(failed)} of {len(found.files)} files: {named}{rest}"
    known = [one for one in found.files if one.kind != "unknown" and not one.state.failed]
    counted = f"{len(known)} file{'' if len(known) == 1 else 's'}"
    subjects = list(dict.fromkeys(subject for one in known for subject in one.not_checked))
    if unknown := sum(one.kind == "unknown" for one in found.files):
        subjects.append(f"{unknown} of no known kind")
    unchecked = f"; not checked: {', '.join(subjects)}" if subjects else ""
    if others := [one.file for one in found.files if one.state.failed]:
        unchecked += f"; does not fit, and need not: {', '.join(others)}"
    if found.asked_for:
        return f"{counted} good for {', '.join(map(str, found.gpus))}{unchecked}"
    if found.lacks_gpu and any(one.kind == "engine" for one in known):
        return f"{counted} good as far as can be told without a GPU{unchecked}"
    return f"{counted} good{unchecked}"


def _verb(answer) -> str:
    return "is damaged" if str(answer.state) == "damaged" else "does not fit"
