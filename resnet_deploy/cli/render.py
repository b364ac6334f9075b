"""What a command shows: data on stdout, everything else on stderr, and how an error ends a process."""

from __future__ import annotations

__all__ = ["ProgressBar", "error_exit", "note", "print_data", "print_json", "table"]

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from resnet_deploy.core.errors import ExitCode, ResnetDeployError, Terminated
from resnet_deploy.core.progress import Progress

if TYPE_CHECKING:  # rich takes 60 ms to import; --help does without it
    from rich.console import Console
    from rich.table import Table

_FIRST_LINE_S, _LINE_EVERY_S = 5.0, 60.0  # in a log file: soon a sign of life and of speed, then few lines


def _console(stream: Any) -> Console:
    from rich.console import Console

    # Rich folds to 80 columns where there is no terminal; a pipe should get whole lines.
    width = None if stream.isatty() else 200
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False)


def print_data(*renderables: Any) -> None:
    """Show results on stdout."""
    console = _console(sys.stdout)
    for renderable in renderables:
        console.print(renderable)


def print_json(value: Any) -> None:
    """One JSON document on stdout; dataclasses are taken apart, NaN is null."""
    from resnet_deploy.core.config import to_plain

    sys.stdout.write(json.dumps(_finite(to_plain(value)), indent=2) + "\n")


def note(message: str) -> None:
    """A line for the person at the terminal, on stderr."""
    _console(sys.stderr).print(_escape(message))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1) -> Table:
    """A table whose first `left` columns are flush left and the others flush right."""
    from rich.table import Table

    result = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        result.add_column(column, justify="left" if index < left else "right")
    for row in rows:
        result.add_row(*(_escape(str(cell)) for cell in row))
    return result


class ProgressBar:
    """Draws `core.progress` on stderr where that is a terminal; elsewhere prints lines.

    These are one for each piece of work, one after its first seconds, and one a minute from then on.

    Args:
        quiet: Show nothing, as all but the first of several processes do.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = _console(sys.stderr)
        self._console.quiet = quiet
        self._live = None
        self._task = None
        self._total: int | None = None
        self._done = 0
        self._began = self._due = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._console.quiet:
            from rich import progress as bars

            self._live = bars.Progress(
                bars.TextColumn("{task.description}"),
                bars.BarColumn(),
                bars.MofNCompleteColumn(),
                bars.TimeRemainingColumn(),
                bars.TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def start(self, description: str, total: int | None) -> None:
        if self._live is None:
            self._console.print(_escape(description))
            self._total, self._done, self._began = total, 0, time.monotonic()
            self._due = self._began + _FIRST_LINE_S
            return
        if self._task is not None:
            self._live.remove_task(self._task)
        self._task = self._live.add_task(_escape(description), total=total, note="")

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        if self._live is not None and self._task is not None:
            if note:
                self._live.update(self._task, advance=steps, note=_escape(note))
            else:
                self._live.update(self._task, advance=steps)
            return
        self._done += steps
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _LINE_EVERY_S
            of = f"/{self._total}" if self._total else ""
            self._console.print(_escape(f"  {self._done}{of} after {now - self._began:,.0f} s  {note}"))

    def log(self, message: str) -> None:
        (self._live.console if self._live is not None else self._console).print(_escape(message))


def error_exit(work: Callable[[], Any]) -> int:
    """Run a command; turn every way it can end into an exit code and, at most, one message on stderr."""
    try:
        result = work()
        return int(result) if isinstance(result, int) else ExitCode.DONE
    except ResnetDeployError as error:
        if not error.is_told:
            _say_error(error.message, error.remedy)
        return error.exit_code
    except KeyboardInterrupt as error:
        code = ExitCode.TERMINATED if isinstance(error, Terminated) else ExitCode.INTERRUPTED
        _say_error(
            f"{code.name.lower()}; finished files are kept, unfinished ones were removed", "run the same command again"
        )
        return code
    except OSError as error:
        return _operating_system_error(error)
    except MemoryError:
        _say_error("out of memory", "take a smaller --batch, or fewer images")
        return ExitCode.FAILED
    except Exception as error:
        if type(error).__module__.startswith(("typer", "click")):
            raise  # typer's own way to end a command or to report wrong usage
        return _internal_error(error)


def _operating_system_error(error: OSError) -> int:
    import errno

    where = f"{error.filename}: " if error.filename else ""
    if isinstance(error, BrokenPipeError):
        return ExitCode.DONE  # the reader of our output went away
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        _say_error(f"{where}no space left on the disk; nothing half-written was kept", "free some space and run again")
        return ExitCode.FAILED
    if isinstance(error, (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        _say_error(f"{where}{error.strerror or error}", "check the path and its permissions")
        return ExitCode.BAD_INPUT
    _say_error(f"{where}{error}", None)
    return ExitCode.FAILED


def _internal_error(error: Exception) -> int:
    if os.environ.get("RESNET_DEPLOY_TRACEBACK") == "1":
        raise error
    _say_error(
        f"a fault in resnet-deploy: {type(error).__name__}: {error}",
        "set RESNET_DEPLOY_TRACEBACK=1, run again, and report what it prints",
    )
    return ExitCode.FAILED


def _say_error(message: str, remedy: str | None) -> None:
    console = _console(sys.stderr)
    console.print("[bold red]error:[/] " + _escape(message))
    if remedy:
        console.print("[bold]remedy:[/] " + _escape(remedy))


def _escape(text: str) -> str:
    """`text` with rich's markup made harmless."""
    from rich.markup import escape as escape_markup

    return escape_markup(text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
