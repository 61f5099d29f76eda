"""Weights and pictures that every engine gets alike."""

import math

import numpy as np

import caffe_net


def random_weights(net, seed=1):
    """He-initialised values by Caffe's names; the first layer also brings pictures (some 70 high) to 1.

    The activations then stay near 1 through the net, so that the probabilities are neither all alike nor
    a single 1: a wrong layer shows.
    """
    rng = np.random.default_rng(seed)
    arrays, first = {}, True
    for node in net.nodes:
        if node.kind == "BatchNorm":
            arrays |= _batch_norm(node, rng)
            continue
        for name, shape in node.params.items():
            if len(shape) == 1:
                values = 0.05 * rng.standard_normal(shape)
            else:
                spread = math.sqrt(2.0 / math.prod(shape[1:])) / (70.0 if first else 1.0)
                values, first = spread * rng.standard_normal(shape), False
            arrays[name] = values.astype(np.float32)
    return arrays


def _batch_norm(node, rng):
    """Statistics near 0 and 1 under a scale factor, as Caffe stores them, and the scale behind them."""
    channels, factor = node.params[f"{node.name}:0"], np.float32(999.982)
    mean, variance = 0.1 * rng.standard_normal(channels), rng.uniform(0.5, 1.5, channels)
    arrays = {
        f"{node.name}:0": (factor * mean).astype(np.float32),
        f"{node.name}:1": (factor * variance).astype(np.float32),
        f"{node.name}:2": np.array([factor], np.float32),
    }
    scale = node.attrs["scale"]
    if f"{scale}:0" in node.params:
        # Small, so that what the shortcuts of a residual net add up does not blow up.
        arrays[f"{scale}:0"] = rng.uniform(0.3, 0.9, channels).astype(np.float32)
    if f"{scale}:1" in node.params:
        arrays[f"{scale}:1"] = (0.1 * rng.standard_normal(channels)).astype(np.float32)
    return arrays


def check(net, arrays):
    """Stops where an array is missing or has another shape than the net's."""
    for node in net.nodes:
        for name, shape in node.params.items():
            if name not in arrays:
                raise ValueError(f"weights: no array '{name}'")
            if math.prod(arrays[name].shape) != math.prod(shape):
                raise ValueError(f"weights: '{name}' is {arrays[name].shape}, the net has {shape}")
            arrays[name] = arrays[name].reshape(shape)


def folded_batch_norm(node, arrays):
    """Mean, variance, scale and bias of a BatchNorm (and the Scale behind it), Caffe's factor divided out."""
    stored = [arrays[f"{node.name}:{k}"] for k in range(3)]
    factor = float(stored[2][0])
    factor = 0.0 if factor == 0.0 else 1.0 / factor
    mean, variance = stored[0] * np.float32(factor), stored[1] * np.float32(factor)
    scale = node.attrs["scale"]
    gamma = arrays.get(f"{scale}:0", np.ones_like(mean))
    beta = arrays.get(f"{scale}:1", np.zeros_like(mean))
    return mean, variance, gamma, beta


def pictures(shape, seed=2):
    """Noise in the range of pictures less their mean (0..255 minus 117)."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(0.0, 255.0, shape) - 117.0).astype(np.float32)


def load(model, path, batch=1):
    """A deploy net and its weights from a .npz file."""
    net = caffe_net.load(model, batch=batch)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    check(net, arrays)
    return net, arrays
