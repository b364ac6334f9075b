"""Everything that could not be run without a GPU, in one go, with one dated report.

    make gpu-check
    python benchmarks/gpu_check.py [--steps machine,engines,latency] [--folder out/gpu-check] [--report docs/benchmarks]
    python benchmarks/gpu_check.py --rehearse      # on a machine without a GPU: the same steps as far as they go

Each step runs in a process of its own, so that a crash or a hang of one leaves the others, and keeps what it found in
FOLDER; steps that passed here with the same versions are not run again (`--fresh` runs them). The report,
`gpu-<date>-<GPU>.md` and `.json` beside it, is written anew after every step. Ends with 0 where every step passed, 1
where one failed, 3 where there is no GPU and none was to be rehearsed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from gpu_report import write_report
from gpu_steps import STEPS, Outcome, run_step
from gpu_subjects import Setting

_FIRST_CALL_S = 540  # a step that takes longer hangs; a whole one needs less on any GPU it was written for


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; wrong step names end the program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", default=",".join(STEPS), help=f"of {', '.join(STEPS)}; default all")
    parser.add_argument("--folder", type=Path, default=Path("out/gpu-check"), help="where files and findings are kept")
    parser.add_argument(
        "--report", type=Path, help="folder of the report; default docs/benchmarks, in a rehearsal FOLDER"
    )
    parser.add_argument("--net", default="resnet18", help="network of the steps that take one")
    parser.add_argument("--latency-nets", default="resnet18,resnet34,resnet50,resnet101,resnet152")
    parser.add_argument("--batches", default="1,8,32", help="of the latency table")
    parser.add_argument("--seconds", type=float, default=0.5, help="least sampling time of a row")
    parser.add_argument("--limit", type=float, default=_FIRST_CALL_S, help="seconds after which a step is stopped")
    parser.add_argument("--fresh", action="store_true", help="run steps again that passed here")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU: CPU runners, engines built but not run")
    parser.add_argument("--only-step", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.steps = [name.strip() for name in options.steps.split(",") if name.strip()]
    if unknown := [name for name in options.steps if name not in STEPS]:
        parser.error(f"unknown steps {', '.join(unknown)}; there are {', '.join(STEPS)}")
    if not options.steps:
        parser.error("--steps names none")
    nets = [net.strip() for net in options.latency_nets.split(",") if net.strip()]
    options.steps = [
        part for name in options.steps for part in ([f"latency:{net}" for net in nets] if name == "latency" else [name])
    ]
    if options.report is None:
        options.report = options.folder if options.rehearse else Path("docs/benchmarks")
    return options


def setting_of(options: argparse.Namespace) -> Setting:
    """What every step is told."""
    return Setting(
        folder=options.folder,
        rehearse=options.rehearse,
        net=options.net,
        batches=tuple(int(text) for text in options.batches.split(",")),
        seconds=options.seconds,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the steps; gives the exit code."""
    options = parse_arguments(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.only_step:
        save(run_step(options.only_step, setting_of(options)), options.folder, key="")
        return 0
    from resnet_deploy.bench.machine.environment import capture_environment
    from resnet_deploy.engine.cuda_driver import query_cuda_driver

    driver = query_cuda_driver()
    if not driver.gpus and not options.rehearse:
        print(f"not run: {driver.reason}; `--rehearse` goes as far as it goes without one", file=sys.stderr)
        return 3
    environment = capture_environment()
    key = _key_of(environment, options)
    gpu = "rehearsal" if options.rehearse else driver.gpus[0].name
    stem = f"gpu-{date.today().isoformat()}-{re.sub(r'[^0-9a-z]+', '-', gpu.lower()).strip('-')}"
    outcomes: dict[str, Outcome] = {}
    for name in options.steps:
        kept = None if options.fresh else load(name, options.folder, key)
        if kept is not None:
            print(f"{name}: kept from before", file=sys.stderr)
        else:
            print(f"{name} ...", file=sys.stderr, flush=True)
            kept = _in_own_process(name, options, arguments)
            save(kept, options.folder, key)
            print(
                f"{name}: {kept.state}{f', {kept.summary}' if kept.summary else ''} ({kept.seconds:.0f} s)",
                file=sys.stderr,
            )
        outcomes[name] = kept
        # what earlier calls found belongs to the same report: a machine may be lent for minutes at a time
        found = {**_found_before(options.folder, key), **outcomes}
        report = write_report(_in_order(found), options.report / f"{stem}.md", environment, driver)
    print(report)
    return 1 if any(outcome.state == "failed" for outcome in outcomes.values()) else 0


def _key_of(environment, options: argparse.Namespace) -> str:
    """Findings hold for this GPU, these versions, this commit and these options."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    asked = (options.net, options.latency_nets, options.batches, options.seconds, options.rehearse)
    return repr((head, sorted(environment.packages.items()), [gpu.name for gpu in environment.gpus], asked))


def _in_own_process(name: str, options: argparse.Namespace, arguments: list[str] | None) -> Outcome:
    begun = time.perf_counter()
    given = sys.argv[1:] if arguments is None else arguments
    command = [sys.executable, __file__, *given, "--only-step", name]
    file = _file_of(name, options.folder)
    file.unlink(missing_ok=True)
    problem = ""
    try:
        done = subprocess.run(
            command,
            timeout=options.limit,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        _file_of(name, options.folder).with_suffix(".log").write_text(done.stdout)
        if done.returncode != 0:
            problem = f"its process ended with {done.returncode}: {_last_line(done.stdout)}"
    except subprocess.TimeoutExpired:
        problem = f"it was stopped after {options.limit:.0f} s"
    if not problem and file.is_file():
        return Outcome(**json.loads(file.read_text())["outcome"])
    return Outcome(name=name, state="failed", summary=problem, seconds=time.perf_counter() - begun)


def _found_before(folder: Path, key: str) -> dict[str, Outcome]:
    names = [file.stem.replace("-", ":", 1) for file in folder.glob("*.json") if file.stem.split("-")[0] in STEPS]
    return {name: outcome for name in names if (outcome := load(name, folder, key)) is not None}


def _in_order(found: dict[str, Outcome]) -> list[Outcome]:
    order = list(STEPS)

    def place(name: str) -> tuple[int, list[int], str]:
        return order.index(name.partition(":")[0]), [int(number) for number in re.findall(r"\d+", name)], name

    return [found[name] for name in sorted(found, key=place)]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _file_of(name: str, folder: Path) -> Path:
    return folder / f"{name.replace(':', '-')}.json"


def save(outcome: Outcome, folder: Path, key: str) -> None:
    """Keep what a step found."""
    partial = _file_of(outcome.name, folder).with_suffix(".part")
    partial.write_text(json.dumps({"key": key, "outcome": outcome.as_dict()}, indent=1) + "\n")
    os.replace(partial, _file_of(outcome.name, folder))


def load(name: str, folder: Path, key: str) -> Outcome | None:
    """What a step found before; None where it did not pass, or under other circumstances."""
    try:
        kept = json.loads(_file_of(name, folder).read_text())
        outcome = Outcome(**kept["outcome"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return outcome if kept["key"] == key and outcome.state != "failed" else None


if __name__ == "__main__":
    sys.exit(main())
