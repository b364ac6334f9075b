"""`resnet-deploy build`: ONNX files, or whole networks, to engines."""

from __future__ import annotations

__all__ = ["command"]

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from resnet_deploy.cli.options import FORCE, JSON, OUT
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.building.options import (
    BuildOptions,
    HardwareCompatibility,
    parse_batch_profiles,
    parse_size_profile,
)

if TYPE_CHECKING:
    from resnet_deploy.pipeline.matrix import EngineCell


def command(
    onnx: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="[ONNX]...", help="Files of this chain or from elsewhere; each gives an engine beside it."
        ),
    ] = None,
    depth: Annotated[
        Optional[list[str]], typer.Option(help="ImageNet ResNets, e.g. 18,50,101, in place of files.")
    ] = None,
    net: Annotated[Optional[list[str]], typer.Option(help="Nets by name, e.g. resnet20,resnet56.")] = None,
    precision: Annotated[
        str, typer.Option(help="With --depth or --net: what to build, of fp32, fp16, bf16, int8, fp8.")
    ] = "fp32,fp16,int8",
    folder: Annotated[
        Path, typer.Option(help="With --depth or --net: where their files are; nets without any are made untrained.")
    ] = Path("out"),
    target: Annotated[
        Optional[list[str]],
        typer.Option(
            help="GPUs to build for, e.g. sm86,sm89 (or the option once for each), or current for the GPU here. Without "
            "it TensorRT-RTX builds for sm80 and newer (FP8: sm89), TensorRT for the GPU here.",
            show_default=False,
        ),
    ] = None,
    per_target: Annotated[
        bool, typer.Option("--per-target", help="An engine for each --target, not one that serves them all.")
    ] = False,
    profile: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Batch sizes min:opt:max the engine takes (default 1:8:32). Repeat it, or write 1,8,32, for several "
            "profiles."
        ),
    ] = None,
    size: Annotated[
        Optional[str],
        typer.Option(help="Image sizes of a net for any size: 224, 480x640 (height x width), or min:opt:max."),
    ] = None,
    product: Annotated[
        Optional[str],
        typer.Option(
            help="tensorrt-rtx (builds without a GPU) or tensorrt; without it, the one that fits this machine."
        ),
    ] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Let FP32 convolutions use TF32 (less exact, faster).")] = False,
    workspace: Annotated[
        Optional[int], typer.Option(help="Most scratch memory in MiB; without it, all the GPU has.")
    ] = None,
    strip: Annotated[
        bool, typer.Option("--strip", help="Leave the weights out; they come from the ONNX file when it is opened.")
    ] = False,
    refit: Annotated[bool, typer.Option("--refit", help="Let the weights be replaced later.")] = False,
    timing_cache: Annotated[
        Optional[Path],
        typer.Option(help="File of kernel times to read and extend (tensorrt; default: one beside the engine)."),
    ] = None,
    pin_timing_cache: Annotated[
        bool,
        typer.Option("--pin-timing-cache", help="Take every kernel from --timing-cache, or fail (tensorrt)."),
    ] = False,
    optimization_level: Annotated[
        Optional[int], typer.Option(help="0 (quick build) to 5 (thorough) (tensorrt).")
    ] = None,
    hardware_compatible: Annotated[
        HardwareCompatibility,
        typer.Option(help="Which other GPUs the engine runs on, at the price of speed (tensorrt)."),
    ] = HardwareCompatibility.NONE,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Run on later versions of the major too (tensorrt).")
    ] = False,
    dla: Annotated[
        Optional[int], typer.Option(help="DLA core of a Jetson; what it can not do runs on the GPU (tensorrt).")
    ] = None,
    sanity: Annotated[
        bool,
        typer.Option("--sanity/--no-sanity", help="Put the engine through the sanity gate where a GPU can run it."),
    ] = True,
    jobs: Annotated[
        int, typer.Option(help="With --depth or --net: networks at a time; 0 takes one for each processor.", min=0)
    ] = 0,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Build TensorRT engines of ONNX files, or of networks by name; TensorRT-RTX needs no GPU for it.

    What was built from the same bytes with the same options is kept; an interrupted run goes on where it was.
    """
    files = list(onnx or [])
    specs = _networks(depth or [], net or [])
    _check_sources(files, specs, out)
    groups = _target_groups(target or [], per_target=per_target)
    if out is not None and len(groups) > 1:
        raise ConfigError(f"--out names one engine, --per-target makes {len(groups)}", remedy="leave --out away")
    template = BuildOptions(
        onnx=files[0] if files else folder / "net.onnx",
        product=product,
        batches=parse_batch_profiles(profile or ["1:8:32"]),
        size=None if size is None else parse_size_profile(size),
        tf32=tf32,
        workspace_mib=workspace,
        strip=strip,
        refit=refit,
        timing_cache=timing_cache,
        pin_timing_cache=pin_timing_cache,
        optimization_level=optimization_level,
        hardware_compatibility=hardware_compatible,
        version_compatible=version_compatible,
        dla_core=dla,
        sanity=sanity,
        out=out,
        force=force,
    )
    begun = time.perf_counter()
    with ProgressBar() as progress:
        if specs:
            cells = _matrix(specs, template, precision, groups, folder, jobs, progress)
        else:
            cells = _files(files, template, groups, progress)
    seconds = time.perf_counter() - begun
    if json:
        print_json({"engines": cells, "seconds": seconds})
    else:
        _show(cells, seconds)
    raise typer.Exit(next((cell.exit_code for cell in cells if cell.exit_code), ExitCode.DONE))


def _networks(depths: list[str], names: list[str]) -> list:
    from resnet_deploy.nets.catalogue import find_net, net_of_depth

    numbers = _parts(depths)
    if wrong := [text for text in numbers if not text.isdecimal()]:
        raise ConfigError(f"--depth has {wrong[0]!r}", remedy="write depths, e.g. 18,50,101; --net takes names")
    specs = [*(net_of_depth(int(text)) for text in numbers), *(find_net(name) for name in _parts(names))]
    return list(dict.fromkeys(specs))


def _parts(texts: list[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _check_sources(files: list[Path], specs: list, out: Path | None) -> None:
    if bool(files) == bool(specs):
        raise ConfigError(
            "ONNX files and networks were both named" if files else "nothing to build was named",
            remedy="give ONNX files, or --depth 18,50 or --net resnet20",
        )
    if out is not None and (specs or len(files) > 1):
        many = f"{len(files)} ONNX files were given" if files else "--depth and --net make several"
        raise ConfigError(f"--out names one engine, {many}", remedy="leave --out away")


def _target_groups(texts: list[str], *, per_target: bool) -> tuple[tuple[str, ...], ...]:
    targets = tuple(_parts(texts))
    if per_target and not targets:
        raise ConfigError("--per-target needs --target", remedy="name the GPUs, e.g. --target sm86,sm89 --per-target")
    return tuple((one,) for one in targets) if per_target else (targets,)


def _precisions(text: str) -> tuple[Precision, ...]:
    known, asked = [str(one) for one in Precision], _parts([text.lower()])
    if not asked or not set(asked) <= set(known):
        raise ConfigError(f"--precision is {text!r}", remedy=f"one or more of {', '.join(known)}, with commas between")
    return tuple(dict.fromkeys(map(Precision, asked)))


def _matrix(specs, template, precision, groups, folder, jobs, progress) -> list[EngineCell]:
    from resnet_deploy.engine.products import import_product
    from resnet_deploy.engine.targets import check_targets, choose_product
    from resnet_deploy.pipeline.matrix import NetworkMatrix, build_matrix

    product = choose_product(template.product)
    template.check_product(product)  # before networks are made, which takes minutes
    for targets in groups:
        check_targets(product, import_product(product), targets)
    at_once = jobs or os.cpu_count() or 1
    if not product.ahead_of_time and at_once > 1:
        at_once = 1
        note(f"{product.name} times kernels while it builds, so networks are built one at a time")
    matrix = NetworkMatrix(
        nets=tuple(specs),
        template=template,
        precisions=_precisions(precision),
        target_groups=groups,
        folder=folder,
        num_processes=at_once,
    )
    return build_matrix(matrix, progress)


def _files(files, template, groups, progress) -> list[EngineCell]:
    from resnet_deploy.pipeline.build import build_and_ask
    from resnet_deploy.pipeline.matrix import build_all, cell_of, jobs_for

    jobs = [job for file in files for job in jobs_for(file, template, groups)]
    if len(jobs) == 1:  # an error is then the command's own
        return [cell_of(jobs[0], *build_and_ask(jobs[0], progress))]
    return build_all(jobs, progress)


def _show(cells: list[EngineCell], seconds: float) -> None:
    columns = ("file", "precision", "product", "runs on", "batch", "realised", "MiB", "seconds", "")
    print_data(table("Engines", columns, map(_row, cells), left=4))
    states = Counter(cell.state for cell in cells)
    made = [cell.result for cell in cells if cell.result is not None]
    if len(cells) > 1:
        counts = ", ".join(f"{states[state]} {state}" for state in ("built", "up to date", "refused") if states[state])
        size = sum(result.size_bytes for result in made) / 2**20
        print_data(f"{len(cells)} engines in {seconds:.1f} s: {counts}; {size:,.0f} MiB.")
    for reason, same in _grouped((cell.reason, cell.file.name) for cell in cells if cell.reason):
        note(f"{_names(same)}: {reason}")
    for warning, same in _grouped((text, r.file.name) for r in made for text in r.warnings):
        note(f"{_names(same)}: {made[0].product} warns: {warning}")
    for sizes, same in _grouped((_sizes_text(result), result.file.name) for result in made):
        if sizes:
            note(f"{_names(same)}: {sizes}")
    _show_delivered(cells)
    _show_targets([result for result in made if result.product == "tensorrt-rtx"])
    for state, same in _grouped((result.sanity, result.file.name) for result in made):
        note(f"sanity gate, {_names(same)}: {state}")


def _sizes_text(result) -> str:
    """Which image sizes an engine of any size takes; empty for others."""
    for profile in result.profiles:
        first = 1 if len(profile.max) == 4 and profile.max[3] == 3 else 2
        small, usual, large = (
            "x".join(map(str, shape[first : first + 2])) for shape in (profile.min, profile.opt, profile.max)
        )
        if len(profile.max) == 4 and small != large:
            return f"takes images from {small} to {large} px, tuned for {usual} (height x width; --size says others)"
    return ""


def _show_targets(made: list) -> None:
    from resnet_deploy.engine.targets import explain_targets

    groups = _grouped((result.targets, result.file.name) for result in made)
    if len(groups) == 1:
        note(f"{_names(groups[0][1])}: {explain_targets(groups[0][0])}")
    elif groups:
        together = tuple(dict.fromkeys(target for targets, _ in groups for target in targets))
        note(f"each engine runs on the GPUs of its own row alone; what is here {explain_targets(together)}")


def _show_delivered(cells: list[EngineCell]) -> None:
    """What engines do other than their files ask; one line for each way to differ."""
    known = [(cell.file, cell.delivered) for cell in cells if cell.delivered is not None and cell.delivered.known]
    look = "`resnet-deploy inspect ENGINE --layers` lists them"
    for reason, same in _grouped((done.reason, (file, done)) for file, done in known if done.missed):
        counts = [f"{file.name}: {len(done.missed)} of {done.num_layers} layers" for file, done in same]
        note(f"not in the precision asked for, {_names(counts)}: {reason}; {look}")
    wide = [(file, done) for file, done in known if not done.missed and (done.num_wide or done.num_additions_alone)]
    if wide:
        counts = [f"{file.name}: {done.num_wide} and {done.num_additions_alone}" for file, done in wide]
        note(
            "results that leave their layer wider than asked, and residual additions that are kernels of their own, "
            f"{_names(counts)}; {look}. Measure such an engine against fp16."
        )


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _grouped(pairs) -> list[tuple]:
    groups: dict = {}
    for key, name in pairs:
        groups.setdefault(key, []).append(name)
    return list(groups.items())


def _row(cell: EngineCell) -> tuple:
    if cell.result is None:
        return (cell.file, "-", "-", " ".join(cell.targets) or "-", "-", "-", "-", "-", cell.state)
    result = cell.result
    return (
        result.file,
        result.precision,
        f"{result.product} {result.product_version}",
        result.runs_on,
        " ".join(_profile_text(profile) for profile in result.profiles) or "fixed",
        f"{cell.delivered.num_as_asked}/{cell.delivered.num_layers}" if cell.delivered.known else "not known",
        f"{result.size_bytes / 2**20:.2f}",
        f"{result.seconds:.2f}",
        cell.state,
    )


def _profile_text(profile) -> str:
    sizes = [shape[0] for shape in (profile.min, profile.opt, profile.max)]
    return str(sizes[0]) if len(set(sizes)) == 1 else ":".join(map(str, sizes))
