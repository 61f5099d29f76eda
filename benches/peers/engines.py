"""One function a peer: loads the net and gives back what runs it once.

Each takes a Job and returns a function without arguments that computes the probabilities. Whatever an
engine lets us do ahead of time (layout, copying the pictures in, compiling) is done before that function
is timed, as it is for dsd. Every engine is told its number of threads, and to compute in float32
unless the job is one of engines as they are installed.
"""

import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Job:
    """What an engine needs: files in a folder (net.onnx, …), the pictures, the number of threads."""

    model: str
    weights: str
    folder: Path
    pictures: np.ndarray
    threads: int
    as_installed: bool = False


def _torch(job, channels_last, compiled=False):
    import torch

    import weights
    from torch_net import CaffeNet

    torch.set_num_threads(job.threads)
    torch.set_grad_enabled(False)
    net = CaffeNet(*weights.load(job.model, job.weights, batch=len(job.pictures))).eval()
    data = torch.from_numpy(job.pictures)
    if channels_last:
        net, data = net.to(memory_format=torch.channels_last), data.to(memory_format=torch.channels_last)
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True
        net = torch.compile(net)

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=job.as_installed):
            return net(data).float().numpy()

    return run


def pytorch_nchw(job):
    """Eager PyTorch in its default layout."""
    return _torch(job, channels_last=False)


def pytorch_nhwc(job):
    """Eager PyTorch, channels last."""
    return _torch(job, channels_last=True)


def pytorch_compile(job):
    """torch.compile with frozen weights, channels last."""
    return _torch(job, channels_last=True, compiled=True)


def onnxruntime(job):
    """ONNX Runtime's CPU provider."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(job.folder / "net.onnx"), options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: job.pictures}
    return lambda: session.run(None, feed)[0]


def openvino(job):
    """OpenVINO's CPU plugin, one stream."""
    import openvino as ov

    core = ov.Core()
    how = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
        "NUM_STREAMS": 1,
    }
    if not job.as_installed:
        how["INFERENCE_PRECISION_HINT"] = "f32"
    request = core.compile_model(str(job.folder / "net.onnx"), "CPU", how).create_infer_request()
    request.set_input_tensor(ov.Tensor(job.pictures, shared_memory=True))

    def run():
        request.infer()
        return request.get_output_tensor().data

    return run


def mnn_convert(folder):
    """ONNX to MNN. By the library itself: the command `mnnconvert` also installs packages and reports home."""
    import _tools

    files = [f"--modelFile={folder}/net.onnx", f"--MNNModel={folder}/net.mnn"]
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode=bench"])
    if not (folder / "net.mnn").exists():
        raise RuntimeError("MNN's converter wrote nothing")


def mnn(job):
    """MNN, precision high: float32 throughout."""
    import MNN

    interpreter = MNN.Interpreter(str(job.folder / "net.mnn"))
    how = {"backend": "CPU", "numThread": job.threads} | ({} if job.as_installed else {"precision": "high"})
    session = interpreter.createSession(how)
    source = interpreter.getSessionInput(session)
    shape, kind = job.pictures.shape, MNN.Tensor_DimensionType_Caffe
    if tuple(source.getShape()) != shape:
        interpreter.resizeTensor(source, shape)
        interpreter.resizeSession(session)
    source.copyFrom(MNN.Tensor(shape, MNN.Halide_Type_Float, job.pictures, kind))
    result = interpreter.getSessionOutput(session)
    copy_shape = result.getShape()
    copy = MNN.Tensor(copy_shape, MNN.Halide_Type_Float, np.zeros(copy_shape, np.float32), kind)

    def run():
        interpreter.runSession(session)
        result.copyToHostTensor(copy)
        return copy.getNumpyData()

    return run


def ncnn_convert(folder, shape):
    """ONNX to ncnn by pnnx, weights kept in float32. The net is for one picture: ncnn knows no batch."""
    pnnx = Path(sysconfig.get_paths()["purelib"]) / "pnnx" / "pnnx"
    dims = ",".join(map(str, (1, *shape[1:])))
    run = subprocess.run(
        [pnnx, "net1.onnx", f"inputshape=[{dims}]", "fp16=0", "ncnnparam=net.param", "ncnnbin=net.bin"],
        cwd=folder, capture_output=True, text=True, check=False,
    )
    if not (folder / "net.param").exists():
        raise RuntimeError(f"pnnx: {(run.stderr or run.stdout).strip()[-200:]}")


def ncnn(job):
    """ncnn with all its float32 kernels, picture by picture."""
    import ncnn as library

    net = library.Net()
    net.opt.num_threads = job.threads
    net.opt.use_vulkan_compute = False
    kinds = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")
    for name in () if job.as_installed else kinds:
        setattr(net.opt, f"use_{name}", False)
    if net.load_param(str(job.folder / "net.param")) or net.load_model(str(job.folder / "net.bin")):
        raise RuntimeError("ncnn cannot load what pnnx wrote")
    source, result = net.input_names()[0], net.output_names()[0]
    inputs = [library.Mat(picture).clone() for picture in job.pictures]

    def one(picture):
        extractor = net.create_extractor()
        extractor.input(source, picture)
        status, out = extractor.extract(result)
        if status:
            raise RuntimeError(f"ncnn: extract gave {status}")
        return np.array(out).reshape(-1)

    return lambda: np.stack([one(picture) for picture in inputs])


def opencv(job):
    """OpenCV's DNN module, its classic engine (the new one of 5.0 computed wrong values here)."""
    import cv2

    cv2.setNumThreads(job.threads)
    path = str(job.folder / "net.onnx")
    classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    net = cv2.dnn.readNetFromONNX(path) if classic is None else cv2.dnn.readNetFromONNX(path, classic)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)

    def run():
        # Without a new input OpenCV would compute nothing.
        net.setInput(job.pictures)
        return net.forward()

    return run
