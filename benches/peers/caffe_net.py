"""A Caffe net as a plain list of nodes, with Caffe's rules for names, defaults and sizes applied.

The writers of ONNX and PyTorch nets read this list only: what Caffe means is settled here, once.
"""

import math
from dataclasses import dataclass, field

import prototxt

SOURCES = {"Input", "Data", "DummyData", "ImageData", "HDF5Data", "MemoryData"}
# Layers that say something about a result and change none.
SKIPPED = {"Accuracy", "Silence"}


@dataclass
class Node:
    """One layer. `inputs` and `output` are values: each is made once, also by in-place layers."""

    kind: str
    name: str
    inputs: list
    output: str
    shape: tuple = ()
    in_place: bool = False
    # Weights by Caffe's names, `LAYER:K`, with their shapes.
    params: dict = field(default_factory=dict)
    attrs: dict = field(default_factory=dict)


@dataclass
class Net:
    """The nodes in order, the shapes of the inputs, and the value that the last node makes."""

    nodes: list
    inputs: dict
    output: str


def load(path, phase="TEST", batch=None, data_shape=None):
    """Reads a net for a phase. `data_shape` is that of the blob `data` where the file has no Input."""
    message = prototxt.parse(open(path, encoding="utf-8").read())
    current, shapes, inputs, nodes = {}, {}, {}, []
    for layer in message.all("layer"):
        kind, name = layer.get("type"), layer.get("name")
        if kind in SKIPPED or not _included(layer, phase):
            continue
        if kind in SOURCES:
            for top, shape in _source_shapes(layer, batch, data_shape):
                current[top], shapes[top], inputs[top] = top, shape, shape
            continue
        bottoms, tops = layer.all("bottom"), layer.all("top")
        values = [current[b] for b in bottoms]
        in_place = tops[0] in bottoms
        node = Node(kind, name, values, name if in_place or tops[0] in shapes else tops[0])
        node.in_place = in_place
        node.shape = RULES[kind](node, layer, [shapes[v] for v in values])
        if kind == "Scale" and not _join_scale(nodes, node):
            raise ValueError(f"layer '{name}': Scale is read after BatchNorm only")
        if kind == "Scale":
            node = nodes[-1]
        else:
            nodes.append(node)
        current[tops[0]] = node.output
        shapes[node.output] = node.shape
    return Net(nodes, inputs, nodes[-1].output)


def _included(layer, phase):
    rules = [r.get("phase") for r in layer.all("include")]
    without = [r.get("phase") for r in layer.all("exclude")]
    return (not rules or phase in rules or None in rules) and phase not in without


def _source_shapes(layer, batch, data_shape):
    given = layer.sub("input_param").all("shape") or layer.sub("dummy_data_param").all("shape")
    for i, top in enumerate(layer.all("top")):
        if given:
            dims = list(given[min(i, len(given) - 1)].all("dim"))
        else:
            dims = list(data_shape) if i == 0 else [data_shape[0]]
        yield top, tuple([batch or dims[0]] + dims[1:])


def _join_scale(nodes, scale):
    """BatchNorm and the Scale after it are one operation everywhere but in Caffe."""
    if not nodes or nodes[-1].kind != "BatchNorm" or nodes[-1].output != scale.inputs[0]:
        return False
    nodes[-1].params |= scale.params
    nodes[-1].attrs["scale"] = scale.name
    return True


def _pair(param, name, default):
    """A size that may be given once, twice (height, width) or as NAME_h and NAME_w."""
    stem = name.removesuffix("_size")
    if param.get(stem + "_h") is not None:
        return param.get(stem + "_h"), param.get(stem + "_w")
    values = param.all(name) or [default]
    return values[0], values[-1]


def _convolution(node, layer, shapes):
    p = layer.sub("convolution_param")
    kernel, stride = _pair(p, "kernel_size", None), _pair(p, "stride", 1)
    pad, dilation = _pair(p, "pad", 0), _pair(p, "dilation", 1)
    group, outputs = p.get("group", 1), p.get("num_output")
    n, channels, *size = shapes[0]
    node.params[f"{node.name}:0"] = (outputs, channels // group, *kernel)
    if p.get("bias_term", True):
        node.params[f"{node.name}:1"] = (outputs,)
    node.attrs = dict(kernel=kernel, stride=stride, pad=pad, dilation=dilation, group=group)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    out = [(s + 2 * q - e) // t + 1 for s, q, e, t in zip(size, pad, extent, stride)]
    return (n, outputs, *out)


def _pooling(node, layer, shapes):
    p = layer.sub("pooling_param")
    n, channels, *size = shapes[0]
    everything = bool(p.get("global_pooling", False))
    kernel = tuple(size) if everything else _pair(p, "kernel_size", None)
    stride, pad = _pair(p, "stride", 1), _pair(p, "pad", 0)
    out = []
    for s, k, t, q in zip(size, kernel, stride, pad):
        # Rounded up; a window that would start in the padding behind the picture is left out.
        o = math.ceil((s + 2 * q - k) / t) + 1
        out.append(o - 1 if q and (o - 1) * t >= s + q else o)
    # How far the last windows reach behind the padding: 0 where rounding up changed nothing.
    extra = [(o - 1) * t + k - s - 2 * q for o, t, k, s, q in zip(out, stride, kernel, size, pad)]
    node.attrs = dict(
        mode=p.get("pool", "MAX"), everything=everything, kernel=kernel, stride=stride, pad=pad,
        extra=[max(e, 0) for e in extra],
    )
    return (n, channels, *out)


def _inner_product(node, layer, shapes):
    p = layer.sub("inner_product_param")
    outputs, inputs = p.get("num_output"), math.prod(shapes[0][1:])
    node.params[f"{node.name}:0"] = (outputs, inputs)
    if p.get("bias_term", True):
        node.params[f"{node.name}:1"] = (outputs,)
    return (shapes[0][0], outputs)


def _batch_norm(node, layer, shapes):
    channels = shapes[0][1]
    node.attrs = dict(eps=layer.sub("batch_norm_param").get("eps", 1e-5), scale=None)
    node.params |= {
        f"{node.name}:0": (channels,), f"{node.name}:1": (channels,), f"{node.name}:2": (1,),
    }
    return shapes[0]


def _scale(node, layer, shapes):
    node.params[f"{node.name}:0"] = (shapes[0][1],)
    if layer.sub("scale_param").get("bias_term", False):
        node.params[f"{node.name}:1"] = (shapes[0][1],)
    return shapes[0]


def _concat(node, layer, shapes):
    n, _, *rest = shapes[0]
    return (n, sum(s[1] for s in shapes), *rest)


def _lrn(node, layer, shapes):
    p = layer.sub("lrn_param")
    if p.get("norm_region", "ACROSS_CHANNELS") != "ACROSS_CHANNELS":
        raise ValueError(f"layer '{node.name}': LRN is read across channels only")
    node.attrs = dict(
        size=p.get("local_size", 5), alpha=p.get("alpha", 1.0), beta=p.get("beta", 0.75), k=p.get("k", 1.0)
    )
    return shapes[0]


def _eltwise(node, layer, shapes):
    p = layer.sub("eltwise_param")
    if p.get("operation", "SUM") != "SUM" or p.all("coeff"):
        raise ValueError(f"layer '{node.name}': Eltwise is read as a plain SUM only")
    return shapes[0]


def _dropout(node, layer, shapes):
    node.attrs = dict(ratio=layer.sub("dropout_param").get("dropout_ratio", 0.5))
    return shapes[0]


def _same(node, layer, shapes):
    return shapes[0]


def _loss(node, layer, shapes):
    node.attrs = dict(weight=layer.get("loss_weight", 1.0))
    return ()


RULES = {
    "Convolution": _convolution,
    "Pooling": _pooling,
    "InnerProduct": _inner_product,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Concat": _concat,
    "LRN": _lrn,
    "Eltwise": _eltwise,
    "Dropout": _dropout,
    "ReLU": _same,
    "Softmax": _same,
    "SoftmaxWithLoss": _loss,
}
