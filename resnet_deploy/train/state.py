"""Where an unfinished run stands, in one file: what the next step needs to give the bits it would have given."""

from __future__ import annotations

__all__ = ["Metrics", "TrainState", "load_state", "read_state", "save_state"]

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ArtifactError, ConfigError, TrainError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.train.step import TrainStep


@dataclass(kw_only=True, slots=True)
class Metrics:
    """Sums since the last row of the metrics file."""

    loss: float = 0.0
    steps: int = 0
    wrong: int = 0
    images: int = 0
    seconds: float = 0.0


@dataclass(kw_only=True, slots=True)
class TrainState:
    """All that a run remembers besides tensors. Random numbers and the order of images follow from (seed, step).

    Attributes:
        run: What makes two runs the same run: inputs and recorded options, as text by name.
        machine: What may change the last bits: versions, threads, device, processes.
        step: Optimizer steps done.
        schedule: Of `train.schedule.Schedule`.
        scaler: Of fp16's loss scaling.
        metrics: Sums of the unfinished row.
        rows: Rows of the metrics file.
    """

    run: dict[str, str]
    machine: dict[str, str]
    step: int = 0
    schedule: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    rows: list[dict[str, Any]] = field(default_factory=list)


def save_state(path: Path, state: TrainState, step: TrainStep) -> None:
    """Write the state; an interruption leaves the one before.

    Raises:
        TrainError: A weight is not finite; the state before is kept.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in _tensors(step)}
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise TrainError(
                f"{name} is not finite after step {state.step}; the state of an earlier step is kept in {path.name}",
                remedy="start over with a lower peak rate (--lr) or a longer warm-up (--set warmup_fraction=0.3)",
            )
    if step.scaler is not None:
        state.scaler = step.scaler.state_dict()
    with atomic_write(path) as partial:
        partial.write_bytes(save(tensors, metadata={"state": json.dumps(to_plain(state))}))


def read_state(path: Path) -> TrainState:
    """The state without its tensors.

    Raises:
        ArtifactError: Not a state of this version, or cut off.
    """
    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {}).get("state", "null"))
        return from_plain(TrainState, plain, source=path.name)
    except (SafetensorError, OSError, ValueError, ConfigError) as error:
        first_line = str(error).splitlines()[0]
        raise ArtifactError(
            f"{path} can not be resumed: it is cut off, or of another version ({first_line})",
            remedy="give --force to start over, or remove the file",
        ) from error


def load_state(path: Path, step: TrainStep) -> TrainState:
    """Put the tensors back into `step`, bit for bit, and give the rest.

    Raises:
        ArtifactError: Cut off, or with other tensors than `step` has.
    """
    state = read_state(path)
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    for group in step.optimizer.param_groups:
        for parameter in group["params"]:
            if step.optimizer.defaults["momentum"] and state.step:
                momentum = torch.empty_like(parameter, requires_grad=False)  # keeps the parameter's memory format
                step.optimizer.state[parameter]["momentum_buffer"] = momentum
    wanted = dict(_tensors(step))
    if wanted.keys() != stored.keys():
        first = min(wanted.keys() ^ stored.keys())
        raise ArtifactError(
            f"{path} holds other tensors than this run: only one of them has {first!r}",
            remedy="give --force to start over, or remove the file",
        )
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(stored[name])
    if step.scaler is not None:
        step.scaler.load_state_dict(state.scaler)
    return state


def _tensors(step: TrainStep) -> Iterator[tuple[str, Tensor]]:
    for name, value in step.net.state_dict().items():
        yield f"weight/{name}", value
    for name, parameter in step.net.named_parameters():
        buffer = step.optimizer.state[parameter].get("momentum_buffer") if parameter in step.optimizer.state else None
        if buffer is not None:
            yield f"momentum/{name}", buffer
    if step.ema is not None:
        for name, value in step.ema.state_dict().items():
            yield f"average/{name}", value
