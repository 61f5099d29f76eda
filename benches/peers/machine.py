"""What was measured, where and when."""

import datetime
import os
import platform
import subprocess
from pathlib import Path

import install

FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile")


def describe(binary, root):
    """Machine, versions and date as a dictionary."""
    info = Path("/proc/cpuinfo").read_text()
    fields = dict(
        (part.strip() for part in line.split(":", 1)) for line in info.split("\n\n")[0].splitlines() if ":" in line
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    flags = [f for f in FLAGS if f in fields.get("flags", "").split()]
    return {
        "cpu": f"{fields.get('model name', platform.processor())} (family {fields.get('cpu family')}, "
        f"model {fields.get('model')})",
        "cores": len(os.sched_getaffinity(0)),
        "flags": flags + [f"no {f}" for f in ("avx2", "avx512f") if f not in flags],
        "memory_gb": round(memory),
        "system": f"{platform.system()} {platform.release()}",
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "load_before": os.getloadavg()[0],
        "versions": {
            "dsd": f"{_output([binary, '--version']).removeprefix('dsd ')} at {_commit(root)}",
            "python": platform.python_version(),
            **install.versions(),
        },
    }


def _commit(root):
    commit = _output(["git", "-C", root, "rev-parse", "--short", "HEAD"]) or "unknown commit"
    changed = _output(["git", "-C", root, "status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock"])
    return commit + (" with changes" if changed else "")


def _output(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
