"""The same net as a PyTorch module, for inference and for training."""

import torch
from torch import nn
from torch.nn import functional as F

from weights import folded_batch_norm


class CaffeNet(nn.Module):
    """Runs the nodes in order over a table of values."""

    def __init__(self, net, arrays):
        super().__init__()
        self.net = net
        self.layers = nn.ModuleDict()
        for node in net.nodes:
            made = _module(node, arrays)
            if made is not None:
                self.layers[_key(node)] = made

    def forward(self, data, label=None):
        """The last value, probabilities; of a net for training the sum of its losses."""
        values = {"data": data, "label": label}
        for node in self.net.nodes:
            inputs = [values[v] for v in node.inputs]
            key = _key(node)
            if key in self.layers:
                x = inputs[0].flatten(1) if node.kind == "InnerProduct" else inputs[0]
                values[node.output] = self.layers[key](x)
            else:
                values[node.output] = _OPERATIONS[node.kind](node, inputs)
        losses = [n.attrs["weight"] * values[n.output] for n in self.net.nodes if n.kind == "SoftmaxWithLoss"]
        return sum(losses) if losses else values[self.net.output]

    def named_gradients(self):
        """Gradients by Caffe's names. BatchNorm's own three arrays are statistics; its Scale is what learns."""
        found = {}
        for node in self.net.nodes:
            learned = [name for name in node.params if node.kind != "BatchNorm" or not _is_statistic(node, name)]
            for name in learned:
                kind = "bias" if name.endswith(":1") else "weight"
                found[name] = getattr(self.layers[_key(node)], kind).grad
        return found


def _is_statistic(node, name):
    return name.rsplit(":", 1)[0] == node.name


def _key(node):
    return node.name.replace("/", "__").replace(".", "_")


def _module(node, arrays):
    a = node.attrs
    if node.kind == "Dropout":
        # Not in place: a ReLU before it keeps its result for backward.
        return nn.Dropout(a["ratio"])
    if node.kind == "ReLU":
        return nn.ReLU(inplace=node.in_place)
    if node.kind == "BatchNorm":
        mean, variance, gamma, beta = folded_batch_norm(node, arrays)
        made = nn.BatchNorm2d(len(mean), eps=a["eps"])
        values = dict(running_mean=mean, running_var=variance, weight=gamma, bias=beta)
        made.load_state_dict({k: torch.from_numpy(v) for k, v in values.items()}, strict=False)
        return made
    if node.kind not in ("Convolution", "InnerProduct"):
        return None
    weight = torch.from_numpy(arrays[f"{node.name}:0"])
    bias = f"{node.name}:1" in node.params
    if node.kind == "InnerProduct":
        made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias)
    else:
        how = dict(stride=a["stride"], padding=a["pad"], dilation=a["dilation"], groups=a["group"])
        channels = weight.shape[1] * a["group"]
        made = nn.Conv2d(channels, weight.shape[0], a["kernel"], bias=bias, **how)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias:
            made.bias.copy_(torch.from_numpy(arrays[f"{node.name}:1"]))
    return made


def _pool(node, inputs):
    a, x = node.attrs, inputs[0]
    if a["everything"]:
        return F.adaptive_max_pool2d(x, 1) if a["mode"] == "MAX" else F.adaptive_avg_pool2d(x, 1)
    pool = F.max_pool2d if a["mode"] == "MAX" else F.avg_pool2d
    # PyTorch took its rule for rounding up from Caffe; so it did counting the padding in an average.
    return pool(x, a["kernel"], a["stride"], a["pad"], ceil_mode=any(a["extra"]))


def _lrn(node, inputs):
    a = node.attrs
    return F.local_response_norm(inputs[0], a["size"], a["alpha"], a["beta"], a["k"])


def _eltwise(node, inputs):
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    return total


_OPERATIONS = {
    "Pooling": _pool,
    "LRN": _lrn,
    "Eltwise": _eltwise,
    "Concat": lambda node, inputs: torch.cat(inputs, 1),
    "Softmax": lambda node, inputs: torch.softmax(inputs[0], 1),
    "SoftmaxWithLoss": lambda node, inputs: F.cross_entropy(inputs[0].flatten(1), inputs[1]),
}
