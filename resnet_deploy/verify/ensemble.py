"""The networks of an ensemble, opened together, their classes in one order."""

from __future__ import annotations

__all__ = ["Member", "check_same_classes", "open_members"]

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.contract import Runner
from resnet_deploy.verify.protocols import Protocol, ViewPlan
from resnet_deploy.verify.subject import Subject, open_subject


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One network of an ensemble.

    Attributes:
        plan: What it sees of an image.
        columns: [K] its outputs in the order of the first member's; None where that is their own order.
        note: What a person should know; empty where there is nothing to say.
    """

    subject: Subject
    runner: Runner
    plan: ViewPlan
    columns: np.ndarray | None
    note: str = ""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Its class names, None where its manifest has none."""
        return labels_of(self.subject)


@contextmanager
def open_members(
    subjects: Sequence[Subject], plans: Sequence[ViewPlan], *, protocol: Protocol, num_threads: int
) -> Iterator[tuple[Member, ...]]:
    """Open every network; all are closed when the block ends.

    Raises:
        ConfigError: The members know different classes, or multi-scale was asked of a file of one input size.
        MissingDependencyError: A backend or its device is not on this machine.
    """
    columns = check_same_classes(subjects)
    with ExitStack() as stack:
        members = []
        for subject, plan, order in zip(subjects, plans, columns, strict=True):
            runner = stack.enter_context(_open(subject, protocol, num_threads))
            note = _size_note(subject, runner, protocol)
            members.append(Member(subject=subject, runner=runner, plan=plan, columns=order, note=note))
        yield tuple(members)


def check_same_classes(subjects: Sequence[Subject]) -> list[np.ndarray | None]:
    """Per subject, which of its outputs belong to the first one's outputs 0, 1, 2 ...; None where the same ones.

    Files without class names are taken to have the first one's.

    Raises:
        ConfigError: Two name different classes, or another number of them; names both files.
    """
    first = next((subject for subject in subjects if labels_of(subject) is not None), None)
    orders: list[np.ndarray | None] = []
    for subject in subjects:
        labels = labels_of(subject)
        if first is None or labels is None or labels == labels_of(first):
            orders.append(None)
            continue
        wanted = labels_of(first)
        if len(labels) != len(wanted):
            raise ConfigError(
                f"{first.file} knows {len(wanted)} classes, {subject.file} {len(labels)}: they can not vote together",
                remedy="give networks that were trained for the same classes",
            )
        if set(labels) != set(wanted) or len(set(labels)) != len(labels):
            where = next(i for i, (a, b) in enumerate(zip(wanted, labels, strict=True)) if a != b)
            raise ConfigError(
                f"{first.file} and {subject.file} know different classes: class {where} is "
                f"{wanted[where]!r} and {labels[where]!r}",
                remedy="give networks that were trained for the same classes",
            )
        place = {name: i for i, name in enumerate(labels)}
        orders.append(np.array([place[name] for name in wanted], dtype=np.int64))
    return orders


def labels_of(subject: Subject) -> tuple[str, ...] | None:
    """Class names in label order; None where nobody says them."""
    return subject.labels


def _open(subject: Subject, protocol: Protocol, num_threads: int) -> Runner:
    if protocol is not Protocol.MULTI_SCALE:
        return open_subject(subject, num_threads=num_threads)
    if subject.file.suffix == ".safetensors" and subject.backend in (None, "torch"):
        from resnet_deploy.engine.runners.torch_runner import TorchRunner

        return TorchRunner(subject.file, num_threads=num_threads, any_size=True)
    runner = open_subject(subject, num_threads=num_threads)
    shape = runner.info.inputs[0].shape
    if any(isinstance(size, int) and size > 0 for size in shape[2:]):
        runner.close()
        raise ConfigError(
            f"{subject.file} takes images of {shape[3]}x{shape[2]} px only, multi-scale needs any size",
            remedy="give the checkpoint, or an ONNX file of `resnet-deploy export --fully-convolutional`",
        )
    return runner


def _size_note(subject: Subject, runner: Runner, protocol: Protocol) -> str:
    if protocol is not Protocol.MULTI_SCALE or runner.info.backend == "torch":
        return ""
    form = subject.manifest.details.get("form") if subject.manifest else None
    if form == "fully-convolutional":
        return ""
    return (
        f"{subject.file} was run as it is at every size; whether it averages windows as the protocol does is not known"
    )
