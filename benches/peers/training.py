"""A training step in PyTorch: forward, backward, SGD with momentum and weight decay."""

import numpy as np

import caffe_net
import weights as values


def _build(job, channels_last, compiled):
    import torch

    from torch_net import CaffeNet

    torch.set_num_threads(job["threads"])
    with np.load(job["inputs"]) as file:
        data, label = torch.from_numpy(file["data"]), torch.from_numpy(file["label"]).long()
    net = caffe_net.load(job["model"], phase="TRAIN")
    with np.load(job["weights"]) as file:
        arrays = {name: file[name] for name in file.files}
    values.check(net, arrays)
    module = CaffeNet(net, arrays).train()
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
        data = data.to(memory_format=torch.channels_last)
    return module, (torch.compile(module) if compiled else module), data, label


def stepper(job, channels_last, compiled):
    """A function that makes one update and gives back the loss."""
    import torch

    module, call, data, label = _build(job, channels_last, compiled)
    how = dict(lr=job["lr"], momentum=0.9, weight_decay=job["weight_decay"])
    optimizer = torch.optim.SGD(module.parameters(), fused=True, **how)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=job["as_installed"]):
            loss = call(data, label)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def gradients(job, channels_last, compiled):
    """The loss and every weight's gradient, once, by Caffe's names."""
    import torch

    module, call, data, label = _build(job, channels_last, compiled)
    with torch.autocast("cpu", torch.bfloat16, enabled=job["as_installed"]):
        loss = call(data, label)
    loss.backward()
    found = {f"grad:{name}": g.contiguous().numpy() for name, g in module.named_gradients().items()}
    return {"loss": np.float32(loss.item()), **found}


LAYOUTS = {
    "pytorch-nchw": dict(channels_last=False, compiled=False),
    "pytorch-nhwc": dict(channels_last=True, compiled=False),
    "pytorch-compile": dict(channels_last=True, compiled=True),
}
