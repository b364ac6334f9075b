"""Training of ResNet-20: our loop against the plainest PyTorch loop, in one run on one machine.

    python benchmarks/training.py [--rounds 9] [--steps 30] [--threads T] [--out docs/benchmarks/training.json]

The candidates are processes that take turns (A B C ... C B A), a turn being `--steps` timed steps of batch 128:
  plain loop          `plain_training_loop.py`: float32, NCHW, a DataLoader with two workers
  resnet-deploy ...   `resnet-deploy train --recipe paper-cifar`, as it is, with --compile, and with --amp bf16
  bare ...            forward, backward and step of the same net on one constant batch, set up as ours
Images are random bytes in CIFAR's shapes and files: no data set is needed, and pixels do not change the time. Ratios
are taken turn by turn and their median is reported, with the lowest and highest. Looks at held-out images are left out
on all sides; states (every 500 steps) are timed apart and added to ours. About 20 minutes on two cores; the machine
should do nothing else.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
from taking_turns import Candidate

NET, RECIPE, BATCH, SAVE_EVERY = "resnet20", "paper-cifar", 128, 500
FORMS = {"": {}, " --compile": {"compile": True}, " --amp bf16": {"amp": "bf16"}}
TARGET_SPEEDUP, TARGET_OVERHEAD_PERCENT = 1.5, 5.0
PARTS = {  # what the loop does in a step besides `TrainStep.run`: (file, function) of the package
    "read the pixels": ("train/images.py", "batches"),
    "draw the random numbers": ("train/sampler.py", "step_generator"),
    "draw the augmentation": ("train/augment.py", "draw_augmentation"),
    "augment and normalise": ("train/augment.py", "augment"),
    "read the loss, sum, show": ("train/trainer.py", "_read_losses"),
    "save the state": ("train/state.py", "save_state"),
    "forward, backward, step, count": ("train/step.py", "run"),
}


def write_images(folder: Path, *, num_images: int = 50_000) -> None:
    """Random images and labels as CIFAR-10's binary files, a record being a label byte and 3,072 pixel bytes."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, count in [(f"data_batch_{i}.bin", num_images // 5) for i in range(1, 6)] + [("test_batch.bin", 100)]:
        records = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())


def plain(*, folder: Path, threads: int, step_done: Callable[[], None]) -> None:
    """The peer, on the same images held in memory, as torchvision's data set holds them."""
    from plain_training_loop import train_plainly

    records = np.concatenate([np.fromfile(file, np.uint8) for file in sorted(folder.glob("data_batch_*.bin"))])
    records = records.reshape(-1, 3073)
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    train_plainly(images, records[:, 0], threads=threads, batch_size=BATCH, step_done=step_done)


class _EachStep:
    """Progress that tells of every step; on a CPU, the loop reports each one."""

    def __init__(self, step_done: Callable[[], None]) -> None:
        self._step_done, self._is_training = step_done, False

    def start(self, description: str, total: int | None) -> None:
        self._is_training = description.startswith("training")

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        if self._is_training and steps:
            assert steps == 1, "the loop reports several steps at once; they can not be timed apart"
            self._step_done()

    def log(self, message: str) -> None:
        print(message, file=sys.stderr)


def ours(
    *, form: dict, folder: Path, out: Path, threads: int, step_done: Callable[[], None], save_every: int = 10**9
) -> None:
    """`resnet-deploy train --recipe paper-cifar`; states are timed apart."""
    from resnet_deploy.train.allocator import keep_freed_memory
    from resnet_deploy.train.loop import train
    from resnet_deploy.train.options import TrainOptions
    from resnet_deploy.train.recipe_book import load_recipe
    from resnet_deploy.train.step import StepSettings

    options = TrainOptions(
        out=out,
        recipe=load_recipe(RECIPE),
        net=NET,
        data=str(folder),
        val_split="test",
        how=StepSettings(**form),
        num_threads=threads,
        save_every=save_every,
    )
    keep_freed_memory()  # as the command does
    train(options, progress=_EachStep(step_done))


def bare(*, form: dict, threads: int, step_done: Callable[[], None]) -> None:
    """What no loop can do without: our net's forward, backward and step, again and again on one batch in memory."""
    import torch

    from resnet_deploy.nets.catalogue import build_net, find_net
    from resnet_deploy.nets.mean_image import attach_mean_image
    from resnet_deploy.train.allocator import keep_freed_memory
    from resnet_deploy.train.recipe_book import load_recipe

    keep_freed_memory()
    torch.set_num_threads(threads)
    recipe = load_recipe(RECIPE)
    net = build_net(find_net(NET)).to(memory_format=torch.channels_last)
    attach_mean_image(net, torch.zeros(3, 32, 32))
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.01, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    forward = torch.compile(net) if form.get("compile") else net
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (BATCH,))
    while True:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if form.get("amp") else nullcontext():
            logits = forward(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        step_done()


def parts_of_a_step(folder: Path, out: Path, *, threads: int, steps: int = 20) -> dict[str, float]:
    """Milliseconds of each part of our loop, by Python's profiler; a state is saved often and counted at its share."""
    profile, done = cProfile.Profile(), 0

    class Enough(BaseException):
        pass

    def step_done() -> None:
        nonlocal done
        done += 1
        if done == 5:  # the first steps fill caches
            profile.enable()
        if done == 5 + steps:
            profile.disable()
            raise Enough

    try:
        ours(form={}, folder=folder, out=out, threads=threads, step_done=step_done, save_every=5)
    except Enough:
        pass
    calls = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    parts = {}
    for part, (file, function) in PARTS.items():
        found = [row for (path, _, name), row in calls.items() if path.endswith(file) and name == function]
        assert found, f"{function} of {file} was not called: the loop has changed, and this table must follow"
        per_call = 1000 * sum(row[3] for row in found) / sum(row[1] for row in found)
        parts[part] = per_call / SAVE_EVERY if function == "save_state" else per_call
    return parts


def spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def take_turns(work: Path, options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Times in ms by candidate, turn and step."""
    folder, threads = work / "images", options.threads
    entries: dict[str, tuple[Callable, dict]] = {"plain loop": (plain, {"folder": folder, "threads": threads})}
    forms = {flags: form for flags, form in FORMS.items() if not (options.no_bf16 and "amp" in form)}
    for number, (flags, form) in enumerate(forms.items()):
        shared = {"form": form, "threads": threads}
        out = work / str(number) / "resnet20.safetensors"
        entries[f"resnet-deploy{flags}"] = (ours, shared | {"folder": folder, "out": out})
        entries[f"bare{flags}"] = (bare, shared)
    turns: dict[str, list[list[float]]] = {name: [] for name in entries}
    with ExitStack() as stack:
        running = []
        for name, (loop, arguments) in entries.items():
            print(f"starting {name}", file=sys.stderr)
            candidate = Candidate(name, loop, arguments, lead_in=options.lead_in, steps=options.steps)
            stack.callback(candidate.close)
            running.append(candidate)
        for number in range(options.rounds):
            for candidate in running[:: -1 if number % 2 else 1]:
                turns[candidate.name].append(candidate.turn())
            means = ", ".join(f"{name} {statistics.mean(of[-1]):.0f}" for name, of in turns.items())
            print(f"round {number + 1} of {options.rounds}, ms per step: {means}", file=sys.stderr)
    return turns


def compare(turns: dict[str, list[list[float]]], *, save_ms: float) -> list[dict]:
    """One row a candidate; `save_ms` is the share of a state in every step of ours."""
    means = {
        name: [statistics.mean(turn) + (save_ms if name.startswith("resnet-deploy") else 0) for turn in of]
        for name, of in turns.items()
    }
    rows = []
    for name, ms in means.items():
        row = {
            "name": name,
            "ms_per_step": spread(ms),
            "fastest_step_ms": min(min(turn) for turn in turns[name]),
            "images_per_second": 1000 * BATCH / statistics.median(ms),
            "speedup": spread([peer / own for peer, own in zip(means["plain loop"], ms, strict=True)]),
        }
        if name.startswith("resnet-deploy"):
            alone = means[name.replace("resnet-deploy", "bare")]
            over = [100 * (own / base - 1) for own, base in zip(ms, alone, strict=True)]
            row["overhead_percent"] = spread(over)
        rows.append(row)
    return rows


def rounded(value: object) -> object:
    """The same report with 4 significant digits; a timing has no more."""
    if isinstance(value, dict):
        return {key: rounded(of) for key, of in value.items()}
    if isinstance(value, list):
        return [rounded(of) for of in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(report: dict) -> None:
    """The tables in Markdown, and what was asked for beside what came out."""
    print("| | ms per step | images/s | x the plain loop | over bare, % |\n|---|---|---|---|---|")
    for row in report["rows"]:
        ms, ratio, over = row["ms_per_step"], row["speedup"], row.get("overhead_percent")
        print(
            f"| {row['name']} | {ms['median']:.0f} ({ms['low']:.0f} to {ms['high']:.0f}) "
            f"| {row['images_per_second']:.0f} | {ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) | "
            + (f"{over['median']:.1f} ({over['low']:.1f} to {over['high']:.1f}) |" if over else "|")
        )
    print("\n| part of our step, profiler on | ms |\n|---|---|")
    for part, ms in report["parts_ms"].items():
        print(f"| {part} | {ms:.2f} |")
    bound = report["bound"]
    print(
        f"\nBound: {bound['gflop']:.1f} GFLOP a step at {bound['sgemm_gflop_per_s']:.0f} GFLOP/s (sgemm) is "
        f"{bound['convolutions_ms']:.0f} ms; all else at {bound['copy_gb_per_s']:.1f} GB/s (copy) is "
        f"{bound['elementwise_fused_ms']:.0f} ms fused, {bound['elementwise_eager_ms']:.0f} ms in single kernels."
    )
    for name, times in report["over_bound"].items():
        print(f"{name}: {times:.2f} x its bound.")
    print(f"\nAsked: {TARGET_SPEEDUP} x the plain loop, at most {TARGET_OVERHEAD_PERCENT:g} % over bare.")
    for row in report["rows"]:
        if over := row.get("overhead_percent"):
            fast = "reached" if row["speedup"]["median"] >= TARGET_SPEEDUP else "not reached"
            lean = "reached" if over["median"] <= TARGET_OVERHEAD_PERCENT else "not reached"
            print(f"{row['name']}: speed {fast}, overhead {lean}.")


def over_bound(rows: list[dict], bound: dict) -> dict[str, float]:
    """How far our float32 steps are from the bound of their kind: single kernels, or fused by the compiler."""
    own = {row["name"]: row["ms_per_step"]["median"] for row in rows}
    eager = bound["convolutions_ms"] + bound["elementwise_eager_ms"]
    fused = bound["convolutions_ms"] + bound["elementwise_fused_ms"]
    return {
        "resnet-deploy": own["resnet-deploy"] / eager,
        "resnet-deploy --compile": own["resnet-deploy --compile"] / fused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a turn")
    parser.add_argument("--lead-in", type=int, default=6, help="steps before them that are not timed")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-bf16", action="store_true", help="leave --amp bf16 out: half of the time, if emulated")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/training.json"))
    options = parser.parse_args()
    if min(options.rounds, options.steps, options.lead_in, options.threads) < 1:
        parser.error("--rounds, --steps, --lead-in and --threads take 1 or more")

    from plain_training_loop import PlainResNet20
    from training_bound import step_bound

    from resnet_deploy.bench.machine.environment import capture_environment
    from resnet_deploy.nets.catalogue import build_net, find_net

    own, peers = (sum(p.numel() for p in net.parameters()) for net in (build_net(find_net(NET)), PlainResNet20()))
    assert own == peers, f"not the same network: {own} and {peers} parameters"
    environment = capture_environment()
    if environment.load_1min:
        print(f"load at the start: {environment.load_1min} (0 is an idle machine)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_images(work / "images")
        parts = parts_of_a_step(work / "images", work / "parts" / "resnet20.safetensors", threads=options.threads)
        bound = asdict(step_bound(NET, batch_size=BATCH, threads=options.threads))
        turns = take_turns(work, options)
    rows = compare(turns, save_ms=parts["save the state"])
    report = {
        "environment": asdict(environment),
        "bf16_instructions": bf16_instructions(),
        "command": " ".join(["python", *sys.argv]),
        "threads": options.threads,
        "batch_size": BATCH,
        "turns": options.rounds,
        "steps_per_turn": options.steps,
        "rows": rows,
        "parts_ms": parts,
        "bound": bound,
        "over_bound": over_bound(rows, bound),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rounded(report), indent=1) + "\n")
    show(report)


def bf16_instructions() -> list[str]:
    """Those of this processor; with none, bf16 is emulated and slower than float32."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return sorted(flags & {"avx512_bf16", "amx_bf16", "bf16"})


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
