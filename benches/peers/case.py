"""One case: the files that all engines share, what each engine does in a round, and what agrees."""

import os
import shutil
from pathlib import Path

import numpy as np

import caffe_net
import dsd
import onnx_net
import processes
import weights

INFERENCE = (
    "onnxruntime", "openvino", "mnn", "ncnn", "opencv", "pytorch-compile", "pytorch-nhwc", "pytorch-nchw",
)  # fmt: skip
TRAIN = ("pytorch-nhwc", "pytorch-nchw", "pytorch-compile")


class Case:
    """Settings and files; the two kinds of case follow."""

    def __init__(self, options, root):
        self.binary = Path(options.dsd).resolve()
        self.root, self.net, self.batch = root, options.net, options.batch
        self.threads, self.seconds, self.steps = options.threads, options.seconds, options.steps
        self.as_installed = options.as_installed
        self.precision = "bf16" if self.as_installed else "f32"
        kind = f"{options.case}-{self.net}-{self.batch}-{self.precision}"
        self.folder = root / "target" / "peers" / kind
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.model = root / "models" / self.net / "deploy.prototxt"
        self.weights, self.inputs = self.folder / "weights.npz", self.folder / "inputs.npz"
        self.weights_from = "random values"

    def said(self):
        """The precision in a title, where it is not float32 for all."""
        return ", as installed (dsd --precision bf16)" if self.as_installed else ""

    def job(self, peer, task, **more):
        """A worker's job."""
        base = dict(
            peer=peer, task=task, threads=self.threads, seconds=self.seconds, steps=self.steps, batch=self.batch,
            as_installed=self.as_installed,
            folder=self.folder, model=self.model, weights=self.weights, inputs=self.inputs,
            output=self.folder / f"{peer}.out",
        )  # fmt: skip
        return {k: os.fspath(v) if isinstance(v, Path) else v for k, v in (base | more).items()}

    def work(self, peer, task, **more):
        """Runs a worker."""
        return processes.worker(self.job(peer, task, **more), self.folder)


class Inference(Case):
    """Probabilities of a batch of pictures."""

    peers = INFERENCE
    difference = "max difference / max probability"

    def __init__(self, options, root):
        super().__init__(options, root)
        self.title = f"{self.net}, inference, batch {self.batch}{self.said()}"
        self.tolerance = 5e-2 if self.as_installed else 1e-4
        net = caffe_net.load(self.model, batch=self.batch)
        arrays = self._weights(net, options)
        np.savez(self.inputs, data=weights.pictures(net.inputs["data"]))
        onnx_net.save(net, arrays, self.folder / "net.onnx")
        # The form that ncnn's converter reads: a net for one picture.
        onnx_net.save(caffe_net.load(self.model, batch=1), arrays, self.folder / "net1.onnx")

    def _weights(self, net, options):
        """The released SqueezeNet's, where they are at hand, else random ones."""
        if options.weights and self.net == "squeezenet_v1.0" and Path(options.weights).exists():
            self.weights_from = Path(options.weights).name
            export = [self.binary, "export", "--weights", Path(options.weights).resolve(), "--out", self.weights]
            processes.dsd(export, self.threads, self.folder)
        else:
            np.savez(self.weights, **weights.random_weights(net))
        return weights.load(self.model, self.weights, batch=self.batch)[1]

    def prepare(self, peers):
        """dsd's output, and the peers' own formats; gives back why a peer has none."""
        self.expected = dsd.outputs(self)
        self.iterations = dsd.iterations_for(self, self.seconds)
        failed = {}
        for peer in set(peers) & {"mnn", "ncnn"}:
            try:
                self.work(peer, "convert")
            except processes.NotRun as error:
                failed[peer] = f"conversion: {error}"
        return failed

    def once(self, engine):
        """One round of one engine, and how far its output is from dsd's."""
        if engine == "dsd":
            return dsd.inference(self, self.iterations), None
        output = self.folder / f"{engine}.npy"
        output.unlink(missing_ok=True)
        result = self.work(engine, "inference", output=output)
        found = np.load(output)
        if found.shape != self.expected.shape:
            raise processes.NotRun(f"output of shape {found.shape}, expected {self.expected.shape}")
        return result, float(np.abs(found - self.expected).max() / self.expected.max())


def relative(found, expected):
    """The length of the difference over the length of what is expected.

    Not the largest difference: where two values of a max-pooling window, or 0 and a value under a ReLU,
    are as good as equal, rounding decides which way a gradient goes, and single values jump.
    """
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


class Train(Case):
    """Updates by SGD with momentum 0.9 and weight decay, on noise."""

    peers = TRAIN
    difference = "relative difference, worst gradient"
    lr, weight_decay = 1e-5, 2e-4
    # The gradients of so many pictures are compared, without dropout.
    check_batch = 4

    def __init__(self, options, root):
        super().__init__(options, root)
        self.title = f"{self.net}, training step, batch {self.batch}{self.said()}"
        path = root / "models" / self.net / "train_val.prototxt"
        self.tolerance = self._tolerance(path)
        data = caffe_net.load(self.model, batch=self.batch).inputs["data"]
        check = (self.check_batch, *data[1:])
        self.train_model, self.peer_model = self.folder / "train.prototxt", self.folder / "peer.prototxt"
        self.check_model = self.folder / "check.prototxt"
        self.check_inputs = self.folder / "check.npz"
        for file, shape in ((self.inputs, data), (self.check_inputs, check)):
            label = (np.arange(shape[0]) * 37 % 1000).astype(np.float32)
            np.savez(file, data=weights.pictures(shape), label=label)
        with np.load(self.inputs) as file:
            listing = dsd.hdf5(self.folder / "batch.h5", file["data"], file["label"])
        self.train_model.write_text(dsd.training_text(path, data, "HDF5Data", listing=listing))
        self.peer_model.write_text(dsd.training_text(path, data, "Input"))
        self.check_model.write_text(dsd.training_text(path, check, "Input", dropout=False))
        self.model = self.peer_model
        np.savez(self.weights, **weights.random_weights(caffe_net.load(self.check_model, phase="TRAIN")))

    def _tolerance(self, path):
        """How far gradients of float32 may be apart: where values are nearly equal, or nearly 0, rounding decides at a
        max pooling or a ReLU, and through many layers of BatchNorm more of them do. Float32 by PyTorch is as far from
        float64: up to 0.03 for ResNet-50, 0.01 for VGG-16. Rounded to bfloat16 more values tie."""
        if self.as_installed:
            return 0.3
        return 0.1 if "BatchNorm" in path.read_text(encoding="utf-8") else 1e-2

    def prepare(self, peers):
        """dsd's gradients, and how far the peers' are from them."""
        expected = dsd.gradients(self)
        failed, self.differences = {}, {}
        for peer in peers:
            output = self.folder / f"{peer}.npz"
            try:
                self.work(peer, "gradients", model=self.check_model, inputs=self.check_inputs, output=output)
            except processes.NotRun as error:
                failed[peer] = str(error)
                continue
            with np.load(output) as found:
                # BatchNorm's statistics are arrays of the layer, which no gradient moves.
                gradients = ((k, v) for k, v in expected.items() if k.startswith("grad:"))
                learned = {k: v for k, v in gradients if k in found or v.any()}
                self.differences[peer] = max(relative(found[k].reshape(v.shape), v) for k, v in learned.items())
        return failed

    def once(self, engine):
        """One round of one engine."""
        if engine == "dsd":
            return dsd.train(self), None
        how = dict(lr=self.lr, weight_decay=self.weight_decay)
        return self.work(engine, "train", **how), self.differences[engine]
