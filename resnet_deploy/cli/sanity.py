"""`resnet-deploy sanity`: what any correct network does, checked without reference or labels."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Any

import typer

from resnet_deploy.cli.options import JSON, PREPROCESS, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ExitCode, MissingDependencyError

_COLUMNS = ("check", "image", "measured", "wanted", "", "")


def command(
    files: Annotated[
        list[str],
        typer.Argument(metavar="[BACKEND:]FILE...", help="Checkpoints, ONNX files or engines.", show_default=False),
    ],
    preprocess: PREPROCESS = None,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Time for each file; what does not fit is skipped, and said.", min=0.1)
    ] = 60.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the random images.", min=0)] = 0,
    threads: THREADS = 0,
    json: JSON = False,
) -> None:
    """Run networks on extreme and random images in batches of many sizes; needs no data, labels or reference.

    Outputs must be finite, the same for the same call, and for an image the same whatever its batch: alone, beside
    duplicates, in another order, at every corner of every profile and past the largest batch, after larger batches.
    Exit code 1 where a check failed, 3 where a file could not be run here.
    """
    from resnet_deploy.engine.open import parse_runner
    from resnet_deploy.verify.subject import named_preprocess, subject_of

    pixels = named_preprocess(preprocess) if preprocess else None
    runners = [parse_runner(text) for text in files]
    for backend, file in runners:
        subject_of(file, backend)  # a missing or changed file is said before the first is run
    results = []
    with ProgressBar() as progress:
        for backend, file in runners:
            results.append(_checked(file, backend, pixels, threads, seed, seconds, progress))
    if json:
        print_json(results)
    else:
        for result in results:
            _show(result)
    states = {result["state"] for result in results}
    if "failed" in states:
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if "not run" in states:
        raise typer.Exit(ExitCode.MISSING)


def _checked(file: Path, backend: str | None, pixels, threads, seed, seconds, progress) -> dict[str, Any]:
    from resnet_deploy.core.config import to_plain
    from resnet_deploy.engine.sanity.gate import sanity_of_file

    try:
        report = sanity_of_file(
            file,
            backend=backend,
            preprocess=pixels,
            num_threads=threads,
            seed=seed,
            budget_s=seconds,
            progress=progress,
        )
    except MissingDependencyError as error:
        note(f"{file} is not run: {error.message}" + (f"; {error.remedy}" if error.remedy else ""))
        return {"file": str(file), "state": "not run", "reason": error.message}
    return {"state": "passed" if report.passed else "failed", **to_plain(report)}


def _show(result: dict[str, Any]) -> None:
    if result["state"] == "not run":
        return  # said already
    for text in result["notes"]:
        note(f"{result['file']}: {text}")
    batches = {tuple(sizes) for sizes in result["batches"].values()}
    title = f"{result['file']}, {result['precision']}, {result['backend']} {result['version']} on {result['device']}"
    print_data(title, table("", _COLUMNS, map(_cells, result["checks"]), left=6))
    sizes = "; ".join(", ".join(map(str, one)) for one in sorted(batches))
    skipped = sum(check["passed"] is None for check in result["checks"])
    print_data(
        f"{result['state'].upper()}: {result['num_images']} images in {result['seconds']:.1f} s, batches of {sizes}"
        + (f"; {skipped} checks skipped" if skipped else "")
    )


def _cells(check: dict[str, Any]) -> tuple[str, ...]:
    state = {True: "ok", False: "FAILED", None: "skipped"}[check["passed"]]
    measured, wanted = "-", "-"
    if check["measured"] is not None:
        measured, wanted = f"{check['measured']:.3g}", f"{check['relation']} {check['limit']:.3g}"
    return check["name"], check["size"], measured, wanted, state, check["where"] or check["reason"]
