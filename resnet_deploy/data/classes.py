"""Which output of a network is which class of a data set."""

from __future__ import annotations

__all__ = ["ClassMap", "map_classes"]

import re
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.source import ImageSource


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMap:
    """From a data set's labels to a network's outputs.

    Attributes:
        to_output: [K] int64; images of data set class i should have their largest logit at to_output[i].
        names: Names by network output.
        note: What a person should know about the names; empty where they are the same in the same order.
    """

    to_output: np.ndarray
    names: tuple[str, ...]
    note: str = ""


def map_classes(source: ImageSource, labels: tuple[str, ...] | None, num_outputs: int, *, file: str) -> ClassMap:
    """Match the classes of a data set with a network's outputs, by name where both have the same names.

    Args:
        labels: The network's class names from its manifest, None where it has none.
        num_outputs: How many logits it gives.
        file: The network's file, for messages.
    Raises:
        DataError: The images have no labels, the numbers of classes differ, or not one class has a name that the
            other side knows; names both.
    """
    if not source.classes or (len(source) and int(source.labels.min()) < 0):
        raise DataError(
            f"{source.description} has no labels, so accuracy can not be measured on it",
            remedy="give a folder or .tar with one subfolder per class",
        )
    if len(source.classes) != num_outputs:
        raise DataError(
            f"{source.description} has {len(source.classes)} classes, {file} gives {num_outputs} logits",
            remedy="evaluate on the data set the network was trained for, or train a network for this one",
        )
    if labels is not None and len(labels) != num_outputs:
        raise DataError(
            f"the manifest of {file} names {len(labels)} classes, but it gives {num_outputs} logits",
            remedy="make the file again from its checkpoint",
        )
    same_order = np.arange(num_outputs, dtype=np.int64)
    if labels is None:
        note = f"{file} names no classes; output i is taken as {source.description}'s class i in its own order"
        return ClassMap(to_output=same_order, names=source.classes, note=note)
    if labels == source.classes:
        return ClassMap(to_output=same_order, names=labels)
    if len(set(labels)) == num_outputs and set(labels) == set(source.classes):
        place = {name: i for i, name in enumerate(labels)}
        to_output = np.array([place[name] for name in source.classes], dtype=np.int64)
        return ClassMap(to_output=to_output, names=labels, note="class order differs; classes were matched by name")
    missing = [name for name in source.classes if name not in set(labels)]
    if len(missing) == num_outputs and _are_names(labels) and _are_names(source.classes):
        raise DataError(
            f"no class of {source.description} ({_first(source.classes)}) is one that {file} tells apart "
            f"({_first(labels)}), so no answer could be called right",
            remedy="give images of the network's classes; where only the names differ, name the folders as the network "
            "does, or import it anew with --labels",
        )
    note = (
        f"{len(missing)} of {num_outputs} class names of {source.description} are unknown to {file} "
        f"(first: {missing[0]!r}); output i is taken as the data set's class i"
        if missing
        else f"{file} names a class twice; output i is taken as the data set's class i"
    )
    return ClassMap(to_output=same_order, names=labels, note=note)


def _are_names(classes: tuple[str, ...]) -> bool:
    """Whether they say what is seen; numbers in order do not, as `import` gives them, nor do WordNet's (ImageNet's)."""
    return not all(re.fullmatch(r"class_\d+|n\d{8}", name) for name in classes)


def _first(classes: tuple[str, ...]) -> str:
    return ", ".join(map(repr, classes[:3])) + (", ..." if len(classes) > 3 else "")
