"""The rules by which Triton joins the models of an ensemble.

Sources: triton-inference-server/core ensemble_utils.cc (ValidateEnsembleConfig, ValidateTensorMapping) and
model_config_utils.cc (ValidateEnsembleSchedulingConfig).
"""

from __future__ import annotations

__all__ = ["ensemble_problems"]

from collections.abc import Mapping

from resnet_deploy.ship.triton.config import EnsembleStep, ModelConfig, ModelTensor


def ensemble_problems(ensemble: ModelConfig, models: Mapping[str, ModelConfig]) -> list[str]:
    """Every reason for which Triton would refuse `ensemble` over `models` (by name)."""
    tensors = {tensor.name: (tensor, ensemble) for tensor in (*ensemble.input, *ensemble.output)}
    problems: list[str] = []
    for step in ensemble.ensemble_scheduling.step:
        model = models.get(step.model_name)
        if model is None:
            problems.append(f"step {step.model_name!r} is none of the models {sorted(models)}")
            continue
        if 0 < model.max_batch_size < ensemble.max_batch_size:
            problems.append(
                f"max_batch_size is {ensemble.max_batch_size}, its step {model.name} takes {model.max_batch_size}"
            )
        problems += _mapping_problems(step, model, tensors)
    if not problems:
        problems = _flow_problems(ensemble)
    return [f"{ensemble.name}: {problem}" for problem in problems]


def _mapping_problems(
    step: EnsembleStep, model: ModelConfig, tensors: dict[str, tuple[ModelTensor, ModelConfig]]
) -> list[str]:
    """Names, types and sizes of one step; adds the tensors it brings to `tensors`."""
    problems = []
    for side, names, own in (("input", step.input_map, model.input), ("output", step.output_map, model.output)):
        known = {tensor.name: tensor for tensor in own}
        problems += [
            f"{model.name} has no {side} {name!r}, only {sorted(known)}" for name in names if name not in known
        ]
        if side == "input":
            problems += [f"input {name!r} of {model.name} is given no tensor" for name in known if name not in names]
        for name, shared in names.items():
            if name not in known:
                continue
            other, owner = tensors.setdefault(shared, (known[name], model))
            if other.data_type is not known[name].data_type:
                problems.append(
                    f"tensor {shared!r} is {other.data_type.value} in {owner.name}, "
                    f"{known[name].data_type.value} in {model.name}"
                )
            if not _may_agree((other, owner), (known[name], model)):
                problems.append(
                    f"tensor {shared!r} has dims {list(other.dims)} in {owner.name}, "
                    f"{list(known[name].dims)} in {model.name}"
                )
    return problems


def _may_agree(one: tuple[ModelTensor, ModelConfig], other: tuple[ModelTensor, ModelConfig]) -> bool:
    """Sizes agree as they stand, or with the batch axis of a model that batches written out."""

    def full(tensor: ModelTensor, model: ModelConfig) -> tuple[int, ...]:
        return (-1, *tensor.dims) if model.max_batch_size else tensor.dims

    return _match(one[0].dims, other[0].dims) or _match(full(*one), full(*other))


def _match(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(-1 in (a, b) or a == b for a, b in zip(one, other, strict=True))


def _flow_problems(ensemble: ModelConfig) -> list[str]:
    """Every tensor is written before it is read, once, and is read or given out."""
    ready = {tensor.name for tensor in ensemble.input}
    waiting = list(ensemble.ensemble_scheduling.step)
    read: set[str] = set()
    problems = []
    while runnable := [step for step in waiting if set(step.input_map.values()) <= ready]:
        for step in runnable:
            waiting.remove(step)
            read |= set(step.input_map.values())
            problems += [f"tensor {name!r} is written twice" for name in step.output_map.values() if name in ready]
            ready |= set(step.output_map.values())
    outputs = {tensor.name for tensor in ensemble.output}
    problems += [f"step {step.model_name} waits for {sorted(set(step.input_map.values()) - ready)}" for step in waiting]
    problems += [f"output {name!r} is not written" for name in sorted(outputs - ready)]
    problems += [f"tensor {name!r} is not used" for name in sorted(ready - read - outputs)]
    return problems
