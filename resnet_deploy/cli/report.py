"""`resnet-deploy report`: everything a folder holds, on one page."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json


def command(
    folder: Annotated[Path, typer.Argument(help="Where the stages wrote their files; subfolders count.")],
    out: Annotated[
        Optional[Path], typer.Option("--out", "-o", help="HTML file to write; without it, FOLDER/report.html.")
    ] = None,
    title: Annotated[Optional[str], typer.Option("--title", help="Heading of the page.")] = None,
    figures: Annotated[
        Optional[Path],
        typer.Option("--figures", help="Folder for every figure as PNG, SVG and CSV."),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    json: JSON = False,
) -> None:
    """Gather a folder's verdicts, benchmarks, estimates and files into one HTML page.

    The page needs no network and no program but a browser. What the folder does not hold is left out and said, with
    the command that makes it.
    """
    from resnet_deploy.report.report import ReportOptions, write_report

    options = ReportOptions(
        folder=folder, out=out, title=title or f"Report on {folder.resolve().name}", figures=figures
    )
    with ProgressBar() as progress:
        result = write_report(options, progress)
    if json:
        print_json(result)
    else:
        print_data(f"Can it be shipped? {result.answer}")
        print_data(f"sections: {', '.join(result.sections) or 'none'}")
        for text in result.unreadable:
            print_data(f"left out: {text}")
        print_data(f"report: {result.file}")
    if result.figures:
        note(f"written: {len(result.figures)} files in {figures}")
    if open_page and not _open(result.file):
        note(f"no browser on this machine; open the file yourself: {result.file.resolve()}")


def _open(file: Path) -> bool:
    """Whether a browser took the page."""
    import webbrowser

    return webbrowser.open(file.resolve().as_uri())
