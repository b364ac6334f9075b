"""Where an unfinished run stands: weights, momentum and measurements after its last whole epoch, in one file."""

from __future__ import annotations

__all__ = ["TrainState", "load_state", "save_state"]

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from resnet_deploy.core.files import atomic_write

_WEIGHT, _MOMENTUM = "weight/", "momentum/"


@dataclass(kw_only=True, slots=True)
class TrainState:
    """What an epoch leaves to the next. Random numbers are drawn afresh from (seed, epoch), so none are kept.

    Attributes:
        run: Fingerprint of options, data and versions; a state continues no other run.
        epoch: Epochs done.
        step: Optimizer steps done.
        rows: One line of metrics per epoch.
    """

    run: str
    epoch: int = 0
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


def save_state(path: Path, state: TrainState, net: nn.Module, optimizer: torch.optim.SGD) -> None:
    """Write the state so that an interruption leaves the one of the epoch before."""
    tensors = {_WEIGHT + key: value for key, value in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        buffer = optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[_MOMENTUM + name] = buffer
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps({"run": state.run, "epoch": state.epoch, "step": state.step, "rows": state.rows})
    with atomic_write(path) as partial:
        partial.write_bytes(save(tensors, metadata={"state": text}))


def load_state(path: Path, *, run: str, net: nn.Module, optimizer: torch.optim.SGD) -> TrainState | None:
    """Put the state into `net` and `optimizer`, bit for bit; None where it is unreadable or another run's.

    A state is a convenience: one that can not be used costs time, so it is not an error.
    """
    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {}).get("state", "null"))
            if not isinstance(plain, dict) or plain.get("run") != run:
                return None
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError):
        return None
    net.load_state_dict({k.removeprefix(_WEIGHT): v for k, v in tensors.items() if k.startswith(_WEIGHT)})
    for name, parameter in net.named_parameters():
        if (buffer := tensors.get(_MOMENTUM + name)) is not None:
            momentum = torch.empty_like(parameter, requires_grad=False)  # keeps the parameter's memory format
            optimizer.state[parameter]["momentum_buffer"] = momentum.copy_(buffer)
    return TrainState(run=run, epoch=plain["epoch"], step=plain["step"], rows=plain["rows"])
