"""Optimization profiles of a network's image input, from its ONNX shape and the sizes that were asked for."""

from __future__ import annotations

__all__ = ["plan_shapes"]

from resnet_deploy.core.errors import ConfigError, GraphError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.building.options import USUAL_PIXEL_SIZES, BatchProfile, BuildOptions, SizeProfile
from resnet_deploy.engine.contract import ShapeProfile
from resnet_deploy.graph.pixel_prefix import takes_pixels


def plan_shapes(tensor: TensorSpec, options: BuildOptions, *, name: str) -> tuple[ShapeProfile, ...]:
    """Full shapes of every profile; none where the graph fixes them all.

    Args:
        tensor: The input, [N, ...]; with images of any size [N, C, H, W], or pixels [N, H, W, 3], which have usual
            sizes.
        name: Of the file, for messages.
    Raises:
        ConfigError: A size is missing, or given where the graph has its own; or a DLA would get a dynamic shape.
        GraphError: An axis other than batch, height and width is dynamic.
    """
    is_dynamic = [not isinstance(size, int) or size < 1 for size in tensor.shape]
    sides = _side_axes(tensor)
    any_size = len(tensor.shape) == 4 and any(is_dynamic[axis] for axis in sides)
    if any(dynamic for axis, dynamic in enumerate(is_dynamic) if axis and not (any_size and axis in sides)):
        raise GraphError(
            f"{name}: input {tensor.name} is {list(tensor.shape)}, only batch, height and width may be dynamic, in the "
            "order [N, C, H, W]",
            remedy="export it with channels first and their number fixed",
        )
    size = options.size or (USUAL_PIXEL_SIZES if takes_pixels((tensor,)) else None)
    if any_size and size is None:
        raise ConfigError(
            f"{name} takes images of any size, input {tensor.name} is {list(tensor.shape)}",
            remedy="say which sizes the engine must take: --size 224, or --size 224:256:448 for a range",
        )
    if not any_size and options.size is not None:
        raise ConfigError(
            f"{name} has a fixed image size, input {tensor.name} is {list(tensor.shape)}",
            remedy="leave --size away, or export the network for any size (`resnet-deploy export --help`)",
        )
    batches = options.batches
    if not is_dynamic[0]:
        fixed = (_fixed(tensor.shape[0]),)
        if batches not in ((BatchProfile(),), fixed):
            raise ConfigError(
                f"{name} has a fixed batch, input {tensor.name} is {list(tensor.shape)}",
                remedy="leave --profile away, or `resnet-deploy import` the file: that frees the batch if it can",
            )
        batches = fixed
    if not any(is_dynamic):
        return ()
    profiles = tuple(_profile(tensor, batch, size) for batch in batches)
    if options.dla_core is not None and any(profile.min != profile.max for profile in profiles):
        raise ConfigError(
            f"a DLA takes fixed shapes only, {name} would get {list(profiles[0].min)} to {list(profiles[0].max)}",
            remedy="give one batch size, e.g. --profile 8",
        )
    return profiles


def _fixed(size: int | str) -> BatchProfile:
    return BatchProfile(min=int(size), opt=int(size), max=int(size))


def _side_axes(tensor: TensorSpec) -> tuple[int, int]:
    """Where height and width are."""
    return (1, 2) if takes_pixels((tensor,)) else (2, 3)


def _profile(tensor: TensorSpec, batch: BatchProfile, sizes: SizeProfile | None) -> ShapeProfile:
    def shape(which: str) -> tuple[int, ...]:
        whole = [getattr(batch, which), *tensor.shape[1:]]
        if sizes is not None:
            for axis, size in zip(_side_axes(tensor), getattr(sizes, which), strict=True):
                whole[axis] = _size(whole[axis], size)
        return tuple(whole)

    return ShapeProfile(min=shape("min"), opt=shape("opt"), max=shape("max"))


def _size(in_graph: int | str, asked: int) -> int:
    """A graph may fix height or width alone."""
    return in_graph if isinstance(in_graph, int) and in_graph > 0 else asked
