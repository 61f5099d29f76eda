"""A Python environment of the benchmark's own, with the peers from PyPI."""

import shutil
import subprocess
import sys
from pathlib import Path

# What each group of peers installs: lists of pip's arguments. pnnx comes without its dependencies, since
# only the program in it is used.
GROUPS = {
    "base": [["numpy"], ["onnx"], ["h5py"]],
    "pytorch": [["torch"]],
    "onnxruntime": [["onnxruntime"]],
    "openvino": [["openvino"]],
    "mnn": [["MNN"]],
    "ncnn": [["ncnn"], ["--no-deps", "pnnx"]],
    "scipy": [["scipy"]],
    "opencv": [["opencv-python-headless"]],
}
# PyPI's torch for x86 brings the CUDA libraries, and does not load without them.
FREE_GB = {"pytorch": 12, "base": 2}


def ensure(folder, groups):
    """Makes the environment and installs what it lacks. Gives back why a group could not be."""
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"making {folder}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    failed = {}
    for group in ["base", *groups]:
        missing = [how for how in GROUPS[group] if not _present(python, how[-1])]
        for how in missing:
            free = shutil.disk_usage(folder).free / 1e9
            if free < FREE_GB.get(group, 2):
                failed[group] = f"{free:.0f} GB free on the disk, {FREE_GB.get(group, 2)} wanted"
                break
            say(f"installing {how[-1]}")
            command = [python, "-m", "pip", "install", "--quiet", *how]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                failed[group] = "pip: " + (run.stderr.strip().splitlines() or ["failed"])[-1]
                break
    if "base" in failed:
        sys.exit(f"cannot install what the benchmark itself needs: {failed['base']}")
    return failed


def _present(python, package):
    code = f"import importlib.metadata as m; m.version({package!r})"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def versions():
    """The versions of all peers in the running environment."""
    from importlib import metadata

    found = {}
    for group in GROUPS.values():
        for how in group:
            try:
                found[how[-1]] = metadata.version(how[-1])
            except metadata.PackageNotFoundError:
                pass
    return found


def say(text):
    """Progress goes to stderr: stdout is for the table."""
    print(text, file=sys.stderr, flush=True)


def venv_of(root):
    """Where the environment is unless told otherwise."""
    return Path(root) / "target" / "peers-venv"
