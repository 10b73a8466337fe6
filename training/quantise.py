"""The int8 graph: weights and activations in eight bits, and the way back to float weights.

A weight matrix gets one scale for each output channel, an activation one for each piece (row) of each sentence.
ONNX's own `DynamicQuantizeLinear` has a single scale for a whole batch: then a sentence's neighbours move its
scores, and one outlying piece coarsens all others.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

TRANSPOSED = ".weight_Transposed"
"""Ending of the name of a weight matrix in a graph; what precedes it is the name of its module."""
_QUANTISED, _SCALE = "_quantized", "_scale"
_WEIGHT_LEVELS = 127
_DOMAIN = "com.microsoft"  # of onnxruntime's fused product, scale and bias


def name_weights(model: ModelProto) -> None:
    """Name each transposed weight after its module, so that a packed checkpoint can be made full again."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".") + TRANSPOSED
            constants[node.input[1]].name = name
            node.input[1] = name


def quantise(source: Path, target: Path) -> None:
    """Write the int8 form of a graph whose weights `name_weights` has named. Embeddings become float16."""
    model = onnx.load(source)
    _quantise_products(model)
    _halve_embeddings(model)
    model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    onnx.save(model, target)


def dequantised(model: ModelProto) -> dict[str, np.ndarray]:
    """Collect the weights of an int8 graph under the names of their modules, as float32."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if name.endswith(TRANSPOSED + _QUANTISED):
            base = name.removesuffix(_QUANTISED)
            real = value.astype(np.float32) * tensors[base + _SCALE]
            weights[base.removesuffix(TRANSPOSED) + ".weight"] = np.ascontiguousarray(real.T)
        elif name.endswith((".weight", ".bias")):
            weights[name] = value.astype(np.float32)
    return weights


@dataclass(frozen=True)
class _Range:
    """How the values of a row are laid out over the 256 levels.

    Attributes:
        name: Prefix of its constants in the graph.
        n_levels: Between 0 and the row's peak.
        zero: Level of the value 0.
        least_peak: A row's peak is taken to be at least this.
        two_sided: Whether the peak is the largest magnitude, else the largest value.
    """

    name: str
    n_levels: int
    zero: int
    least_peak: float
    two_sided: bool

    @property
    def constants(self) -> list[TensorProto]:
        """Give what the graph must hold of it."""
        return [
            numpy_helper.from_array(np.array(1 / self.n_levels, np.float32), f"{self.name}_scale"),
            numpy_helper.from_array(np.array(self.zero, np.uint8), f"{self.name}_zero"),
            numpy_helper.from_array(np.array(self.least_peak, np.float32), f"{self.name}_least_peak"),
        ]


_SIGNED = _Range("signed", 127, 128, 1e-6, two_sided=True)
# A GELU gives nothing under -0.17: at the least peak, the 32 levels below zero reach just that far.
_GELU = _Range("gelu", 223, 32, 1.19, two_sided=False)


def _quantise_products(model: ModelProto) -> None:
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.name.endswith(TRANSPOSED)}
    after_gelu = _outputs_of_gelu(graph)
    nodes: list[NodeProto] = []
    constants = [*_SIGNED.constants, *_GELU.constants]
    quantised: set[str] = set()  # activations that several products share
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            nodes.append(node)
            continue
        activation, weight = node.input
        levels = _GELU if activation in after_gelu else _SIGNED
        if activation not in quantised:
            nodes += _quantised_rows(activation, levels)
            quantised.add(activation)
        constants += _quantised_columns(weights[weight])
        nodes += _integer_product(activation, weight, node.output[0], levels)
    constants += [tensor for tensor in graph.initializer if tensor.name not in weights]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def _outputs_of_gelu(graph: GraphProto) -> set[str]:
    """Find the activations that end the five nodes of an exact GELU, x / 2 (1 + erf(x / sqrt 2))."""
    users = {name: node for node in graph.node for name in node.input}
    found = set()
    for node in graph.node:
        if node.op_type == "Erf":
            for _ in range(3):  # add 1, times x, times one half
                node = users[node.output[0]]
            found.add(node.output[0])
    return found


def _quantised_columns(weight: TensorProto) -> list[TensorProto]:
    """Round a weight matrix with one scale a column. *Shape:* ``(width_in, width_out)``, ``(width_out,)``"""
    values = numpy_helper.to_array(weight)
    scale = (np.abs(values).max(axis=0) / _WEIGHT_LEVELS).astype(np.float32)
    rounded = np.round(values / np.maximum(scale, np.finfo(np.float32).tiny)).astype(np.int8)
    return [
        numpy_helper.from_array(rounded, weight.name + _QUANTISED),
        numpy_helper.from_array(scale, weight.name + _SCALE),
    ]


def _quantised_rows(name: str, levels: _Range) -> list[NodeProto]:
    """Divide each row by its peak and round it. *Shape:* ``(batch_size, length, width)``"""
    magnitude = name + "_magnitude" if levels.two_sided else name
    unit = [name + "_unit", f"{levels.name}_scale", f"{levels.name}_zero"]
    nodes = [
        helper.make_node("Abs", [name], [magnitude]),
        helper.make_node("ReduceMax", [magnitude], [name + "_highest"], axes=[-1], keepdims=1),
        helper.make_node("Max", [name + "_highest", f"{levels.name}_least_peak"], [name + "_peak"]),
        helper.make_node("Div", [name, name + "_peak"], [name + "_unit"]),
        helper.make_node("QuantizeLinear", unit, [name + _QUANTISED]),
    ]
    return nodes if levels.two_sided else nodes[1:]


def _integer_product(activation: str, weight: str, output: str, levels: _Range) -> list[NodeProto]:
    inputs = [activation + _QUANTISED, weight + _QUANTISED]
    scales = [f"{levels.name}_scale", weight + _SCALE, f"{levels.name}_zero"]
    return [
        helper.make_node("MatMulIntegerToFloat", inputs + scales, [output + "_unit"], domain=_DOMAIN),
        helper.make_node("Mul", [output + "_unit", activation + "_peak"], [output]),
    ]


def _halve_embeddings(model: ModelProto) -> None:
    """Store looked-up tables as float16 and cast what is looked up."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type != "Gather" or node.input[0] not in constants:
            continue
        table = constants[node.input[0]]
        if table.data_type == TensorProto.FLOAT:
            table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table).astype(np.float16), table.name))
        if table.data_type == TensorProto.FLOAT16:
            half = node.output[0] + "_half"
            cast = helper.make_node("Cast", [half], [node.output[0]], to=TensorProto.FLOAT)
            node.output[0] = half
            model.graph.node.insert(list(model.graph.node).index(node) + 1, cast)
