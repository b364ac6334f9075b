"""What an ONNX file asks of an engine, layer by layer, beside what the engine does: never trust the request.

The request is what `quant.audit` reads from the graph by TensorRT's rules; what is realised comes from the engine's
own layers (`engine.inspection.layers`), matched by the names of the ONNX nodes.
"""

from __future__ import annotations

__all__ = ["compare_precision"]

import onnx

from resnet_deploy.core.errors import GraphError
from resnet_deploy.engine.inspection.layers import EngineLayer, EngineLayers
from resnet_deploy.engine.onnx_file import onnx_precision
from resnet_deploy.graph.layer_cost import layer_cost
from resnet_deploy.pipeline.realised_result import Addition, Conversion, LayerPrecision, Realised
from resnet_deploy.quant.audit import audit_model
from resnet_deploy.quant.audit_result import Audit, LayerAudit

_TURING = "sm75"


def compare_precision(
    model: onnx.ModelProto, engine: EngineLayers | None, *, float_ok: tuple[str, ...] = ()
) -> Realised:
    """Compare what a graph asks with the layers of an engine that was built from it.

    Args:
        engine: None gives the request alone, with empty fields for what an engine does.
        float_ok: Names of layers that may be computed in another type than asked.
    Raises:
        GraphError: `float_ok` names no layer of the graph; or the engine names none of its layers, so it was built
            from another file.
    """
    model = _named(model)
    audit = audit_model(model, float_ok=float_ok)
    quantised = audit.precision != "float"
    asked = audit.precision if quantised else str(onnx_precision(model))
    costs = _multiply_adds(model)
    computing = _computing_layers(engine)
    layers = tuple(
        _layer(layer, computing.get(layer.node), costs, "" if quantised else asked, engine) for layer in audit.layers
    )
    if engine is not None and layers and not any(layer.engine_layer for layer in layers):
        raise GraphError(
            f"{engine.source}: none of its {len(engine.layers)} layers names one of the graph's, e.g. "
            f"{layers[0].node!r}; its first is {engine.layers[0].name!r}",
            remedy="give the ONNX file that the engine was built from",
        )
    kernels = [layer for layer in engine.layers if layer.kind != "nothing"] if engine is not None else []
    sizes = [layer.moved_bytes for layer in kernels]
    return Realised(
        asked=asked,
        source="" if engine is None else engine.source,
        num_kernels=len(kernels),
        layers=layers,
        additions=_additions(model, audit, engine),
        conversions=_conversions(kernels),
        batch=_batch(engine),
        moved_bytes=None if not sizes or None in sizes else sum(sizes),
        tf32=tuple(layer.name for layer in kernels if layer.multiplies and layer.uses_tf32),
    )


def _batch(engine: EngineLayers | None) -> int:
    shapes = [tensor.shape for tensor in engine.io if tensor.shape] if engine is not None else []
    return max(1, shapes[0][0]) if shapes else 1


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """With names for nodes that have none, as TensorRT's ONNX parser makes them."""
    if all(node.name for node in model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        node.name = node.name or f"node_of_{node.output[0]}"
    return result


def _multiply_adds(model: onnx.ModelProto) -> dict[str, int]:
    try:
        return {name: cost.multiply_adds for name, cost in layer_cost(model).items()}
    except (GraphError, onnx.shape_inference.InferenceError):
        return {}


def _computing_layers(engine: EngineLayers | None) -> dict[str, EngineLayer]:
    """ONNX node -> the kernel that multiplies for it; a kernel that only adds its bias names it, too."""
    found: dict[str, EngineLayer] = {}
    for layer in engine.layers if engine is not None else ():
        if layer.multiplies:
            for node in layer.nodes:
                found.setdefault(node, layer)
    return found


def _layer(
    audit: LayerAudit, found: EngineLayer | None, costs: dict[str, int], float_type: str, engine: EngineLayers | None
) -> LayerPrecision:
    asked_in = _meant(audit) or float_type
    reason = "; ".join(audit.problems) if engine is None else _why_not(asked_in, found, engine)
    return LayerPrecision(
        node=audit.node,
        op_type=audit.op_type,
        asked_in=asked_in,
        asked_out=_meant(audit) if audit.int8_out else "",
        reads=found.reads if found else "",
        weights=found.weights if found else "",
        writes=found.writes if found else "",
        engine_layer=found.name if found else "",
        tactic=found.tactic if found else "",
        fused=tuple(node for node in found.nodes if node != audit.node) if found else (),
        multiply_adds=costs.get(audit.node),
        accepted=audit.accepted,
        reason=reason,
    )


def _meant(audit: LayerAudit) -> str:
    """The 8-bit type the file means; TensorRT reads unsigned ones as INT8."""
    meant = audit.activation if audit.activation != "float" else audit.weight
    return {"float": "", "uint8": "int8"}.get(meant, meant)


def _why_not(asked: str, found: EngineLayer | None, engine: EngineLayers) -> str:
    if not asked:
        return ""
    if found is None:
        return "no convolution or matrix product of the engine names it"
    if not found.reads:
        return "the engine does not tell in which type it reads"
    if found.reads != asked:
        kernel = f", kernel {found.tactic}" if found.tactic else ""
        # seen with TensorRT-RTX 1.7.1, see docs/guides/inspect.md
        turing = f"; it does so for all GPUs where {_TURING} is among the targets" if _TURING in engine.targets else ""
        return f"the engine reads it in {found.reads}{kernel}{turing}"
    if found.weights not in ("", asked):
        return f"its weight is kept in {found.weights}: only the activation is {asked}"
    return ""


def _additions(model: onnx.ModelProto, audit: Audit, engine: EngineLayers | None) -> tuple[Addition, ...]:
    place = {node.name: index for index, node in enumerate(model.graph.node)}
    places = [place.get(layer.node, 0) for layer in audit.layers]
    found = []
    for addition in audit.additions:
        naming = [layer for layer in (engine.layers if engine else ()) if addition.node in layer.nodes]
        inside = [layer for layer in naming if layer.multiplies]
        best = (inside or naming or [None])[0]
        found.append(
            Addition(
                node=addition.node,
                position=sum(index < place.get(addition.node, 0) for index in places),
                asked=addition.fuses,
                fused=bool(inside) if naming else None,
                engine_layer=best.name if best else "",
            )
        )
    return tuple(found)


def _conversions(kernels: list[EngineLayer]) -> tuple[Conversion, ...]:
    found, position = [], 0
    for layer in kernels:
        position += layer.multiplies
        if layer.kind == "reformat" or layer.converts:
            found.append(
                Conversion(
                    engine_layer=layer.name,
                    nodes=layer.nodes,
                    reads=layer.main_input,
                    writes=layer.main_output,
                    num_bytes=layer.moved_bytes,
                    position=position,
                )
            )
    return tuple(found)
