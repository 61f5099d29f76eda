"""One peer, one task, one process: `worker.py JOB.json` does it and prints one JSON line last.

A process of its own a measurement keeps one engine's threads, caches and memory out of the next one's.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

import engines
import training


def repeat(run, units, seconds, warm_seconds=0.5, least=5):
    """Units a second, median and best, of repeats that fill the given time after a warm-up."""
    started, warm = time.perf_counter(), 0
    while warm < 2 or time.perf_counter() - started < warm_seconds:
        run()
        warm += 1
    spent = []
    while sum(spent) < seconds or len(spent) < least:
        started = time.perf_counter()
        run()
        spent.append(time.perf_counter() - started)
    return rates(spent, units)


def rates(spent, units):
    """What a list of times says."""
    return {"rate": units / float(np.median(spent)), "best": units / min(spent), "repeats": len(spent)}


def peak_mb():
    """The most memory that this process ever had resident."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None


def inference(job):
    """Times a peer's inference and saves its output."""
    pictures = np.load(job["inputs"])["data"]
    engine = getattr(engines, job["peer"].replace("-", "_"))
    folder, how = Path(job["folder"]), (job["threads"], job["as_installed"])
    run = engine(engines.Job(job["model"], job["weights"], folder, pictures, *how))
    np.save(job["output"], np.array(run()).reshape(len(pictures), -1))
    return repeat(run, len(pictures), job["seconds"])


def convert(job):
    """Brings net.onnx into a peer's own format."""
    folder, shape = Path(job["folder"]), np.load(job["inputs"])["data"].shape
    if job["peer"] == "mnn":
        engines.mnn_convert(folder)
    if job["peer"] == "ncnn":
        engines.ncnn_convert(folder, shape)
    return {}


def train(job):
    """Times training steps, the first two left out."""
    step = training.stepper(job, **training.LAYOUTS[job["peer"]])
    spent = []
    for _ in range(job["steps"]):
        started = time.perf_counter()
        loss = step()
        spent.append(time.perf_counter() - started)
    if not np.isfinite(loss):
        raise RuntimeError(f"the loss became {loss}")
    return rates(spent[2:], job["batch"])


def gradients(job):
    """Saves loss and gradients, for the comparison with dsd."""
    np.savez(job["output"], **training.gradients(job, **training.LAYOUTS[job["peer"]]))
    return {}


TASKS = {"inference": inference, "convert": convert, "train": train, "gradients": gradients}


def main():
    """Runs the job of the file that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text())
    result = TASKS[job["task"]](job)
    result["peak_mb"] = peak_mb()
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
