"""Writes a Caffe net as an ONNX file, the form that most peers read."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from weights import folded_batch_norm

# Old enough for every peer's importer.
OPSET = 13


def save(net, arrays, path):
    """Writes the net, with its batch size fixed, as `data` in and the last layer's value out."""
    maker = _Maker(arrays)
    for node in net.nodes:
        getattr(maker, node.kind.lower())(node)
    (name, shape), = net.inputs.items()
    last = net.nodes[-1]
    graph = helper.make_graph(
        maker.nodes,
        "caffe",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last.output, TensorProto.FLOAT, last.shape)],
        initializer=maker.arrays,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


class _Maker:
    """Collects ONNX nodes and arrays, one method a layer type."""

    def __init__(self, weights):
        self.weights, self.nodes, self.arrays = weights, [], []

    def add(self, op, inputs, node, output=None, **attributes):
        """One ONNX node under the layer's name."""
        made = helper.make_node(op, inputs, [output or node.output], name=f"{node.name}/{op}", **attributes)
        self.nodes.append(made)

    def array(self, name, values):
        """An array inside the file; gives back its name."""
        self.arrays.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def params(self, node):
        """The layer's weights as arrays of the file."""
        return [self.array(name, self.weights[name]) for name in node.params]

    def convolution(self, node):
        """Convolution, with groups."""
        a = node.attrs
        self.add(
            "Conv", node.inputs + self.params(node), node, kernel_shape=a["kernel"], strides=a["stride"],
            pads=[*a["pad"], *a["pad"]], dilations=a["dilation"], group=a["group"],
        )

    def pooling(self, node):
        """Max or average; rounding up becomes padding (max) or ceil_mode (average, which counts cells)."""
        a = node.attrs
        maximum = a["mode"] == "MAX"
        if a["everything"]:
            self.add("GlobalMaxPool" if maximum else "GlobalAveragePool", node.inputs, node)
            return
        how = dict(kernel_shape=a["kernel"], strides=a["stride"])
        if maximum:
            behind = [p + e for p, e in zip(a["pad"], a["extra"])]
            self.add("MaxPool", node.inputs, node, pads=[*a["pad"], *behind], **how)
        else:
            self.add(
                "AveragePool", node.inputs, node, pads=[*a["pad"], *a["pad"]],
                ceil_mode=int(any(a["extra"])), count_include_pad=int(any(a["pad"])), **how,
            )

    def innerproduct(self, node):
        """Flatten and Gemm."""
        self.add("Flatten", node.inputs, node, output=f"{node.name}/flat", axis=1)
        self.add("Gemm", [f"{node.name}/flat"] + self.params(node), node, transB=1)

    def batchnorm(self, node):
        """BatchNorm and Scale as one."""
        mean, variance, gamma, beta = folded_batch_norm(node, self.weights)
        values = dict(gamma=gamma, beta=beta, mean=mean, variance=variance)
        names = [self.array(f"{node.name}/{k}", v) for k, v in values.items()]
        self.add("BatchNormalization", node.inputs + names, node, epsilon=float(node.attrs["eps"]))

    def lrn(self, node):
        """Local response normalisation across channels: ONNX defines it as Caffe does."""
        a = node.attrs
        how = dict(alpha=float(a["alpha"]), beta=float(a["beta"]), bias=float(a["k"]), size=a["size"])
        self.add("LRN", node.inputs, node, **how)

    def concat(self, node):
        """Along the channels."""
        self.add("Concat", node.inputs, node, axis=1)

    def relu(self, node):
        """max(x, 0)."""
        self.add("Relu", node.inputs, node)

    def eltwise(self, node):
        """A sum of two or more."""
        self.add("Add" if len(node.inputs) == 2 else "Sum", node.inputs, node)

    def dropout(self, node):
        """Nothing, in inference."""
        self.add("Identity", node.inputs, node)

    def softmax(self, node):
        """Over the channels."""
        self.add("Softmax", node.inputs, node, axis=1)
