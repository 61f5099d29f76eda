"""What dsd is asked to do: the reference output, timed inference, timed training."""

import json
import math
import re

import numpy as np

import caffe_net
import processes
import prototxt

ITERATION = re.compile(r"Iteration: \d+ forward-backward time: ([0-9.e+-]+) ms")
SOLVER = """net: "{net}"
type: "SGD"
base_lr: {lr}
lr_policy: "fixed"
momentum: 0.9
weight_decay: {weight_decay}
max_iter: {steps}
display: 1
snapshot_after_train: false
snapshot_prefix: "{prefix}"
random_seed: 1
solver_mode: CPU
"""


def outputs(case):
    """The probabilities by `dsd run`, for the peers to agree with."""
    out = case.folder / "dsd.npz"
    processes.dsd(
        [case.binary, "run", "--model", case.model, "--weights", case.weights,
         "--inputs", case.inputs, "--outputs", out], case.threads, case.folder,
    )  # fmt: skip
    with np.load(out) as file:
        return file[file.files[0]].reshape(case.batch, -1)


def inference(case, iterations):
    """Images a second by `dsd time`, with the iterations that fill about the wanted time."""
    out, log, peak = processes.dsd(
        [case.binary, "time", "--model", case.model, "--weights", case.weights, "--batch", case.batch,
         "--phase", "test", "--iterations", iterations, "--precision", case.precision, "--json"], case.threads, case.folder,
    )  # fmt: skip
    median = json.loads(out)["forward_ms"]
    best = min(float(ms) for ms in ITERATION.findall(log))
    rate, best = (1e3 * case.batch / ms for ms in (median, best))
    return {"rate": rate, "best": best, "repeats": iterations, "peak_mb": peak}


def iterations_for(case, seconds):
    """How many iterations take so long."""
    rate = inference(case, 3)["rate"]
    return max(5, math.ceil(seconds * rate / case.batch))


def train(case):
    """Images a second of training steps by `dsd train --metrics`, the first two left out."""
    metrics = case.folder / "dsd.jsonl"
    metrics.unlink(missing_ok=True)
    solver = case.folder / "solver.prototxt"
    prefix = case.folder / "snapshot"
    how = dict(lr=case.lr, weight_decay=case.weight_decay, steps=case.steps, prefix=prefix)
    solver.write_text(SOLVER.format(net=case.train_model, **how))
    _, _, peak = processes.dsd(
        [case.binary, "train", "--solver", solver, "--weights", case.weights, "--phase", "dense",
         "--out", case.folder / "run", "--metrics", metrics, "--precision", case.precision], case.threads, case.folder,
    )  # fmt: skip
    points = [json.loads(line) for line in metrics.read_text().splitlines()]
    found = [p["images_per_s"] for p in points if "images_per_s" in p]
    # The first step has nothing before it to be timed from, and no rate.
    found = [rate for rate in found if rate][1:]
    if not found:
        raise processes.NotRun("no images_per_s in the metrics: more --steps are needed")
    return {"rate": float(np.median(found)), "best": max(found), "repeats": len(found), "peak_mb": peak}


def gradients(case):
    """The loss and all gradients by `dsd run --phase train`, without dropout."""
    out, none = case.folder / "dsd_gradients.npz", case.folder / "none.npz"
    np.savez(none)
    processes.dsd(
        [case.binary, "run", "--model", case.check_model, "--weights", case.weights, "--phase", "train",
         "--inputs", case.check_inputs, "--outputs", out, "--gradients", none], case.threads, case.folder,
    )  # fmt: skip
    with np.load(out) as file:
        return {k: file[k] for k in file.files if k == "loss" or re.fullmatch(r"grad:.*:\d+", k)}


def training_text(path, shape, source, listing=None, dropout=True):
    """A train_val net with its data layers replaced, for the TRAIN phase.

    `source` is Input, for arrays that `dsd run` gives, or HDF5Data, which holds its one batch in memory
    as the peers do. Not DummyData: it would make new noise for every batch, which alone took a quarter of
    a step, or be constant, and pooling and ReLU may run faster on that than on anything real.
    """
    message = prototxt.parse(open(path, encoding="utf-8").read())
    skipped = caffe_net.SOURCES | caffe_net.SKIPPED
    if not dropout:
        # In place, in this net: without the layer the blob is just not rewritten.
        skipped = skipped | {"Dropout"}
    layers = [x for x in message.all("layer") if x.get("type") not in skipped]
    if source == "Input":
        dims = " ".join(f"dim: {d}" for d in shape)
        how = f"input_param {{ shape {{ {dims} }} shape {{ dim: {shape[0]} }} }}"
    else:
        how = f'hdf5_data_param {{ source: "{listing}" batch_size: {shape[0]} }}'
    head = f'layer {{ name: "data" type: "{source}" top: "data" top: "label" {how} }}'
    message.fields["layer"] = prototxt.parse(head).all("layer") + layers
    return prototxt.text(message)


def hdf5(path, data, label):
    """Writes a batch as HDF5Data reads it, and the list of files that names it; gives back the list."""
    import h5py

    with h5py.File(path, "w") as file:
        file["data"], file["label"] = data, label
    listing = path.with_suffix(".txt")
    listing.write_text(f"{path}\n")
    return listing
