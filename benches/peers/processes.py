"""Starts one process after the other, with the same limits for all."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# A compiler run by torch.compile is the slowest thing that happens here.
TIMEOUT = 1200


class NotRun(Exception):
    """Why a peer has no result."""


def environment(threads, folder):
    """The environment of every measured process: thread limits, no oddities of the machine's own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "KMP_", "OPENBLAS_", "MKL_"))}
    for name in ("OMP", "MKL", "OPENBLAS"):
        env[f"{name}_NUM_THREADS"] = str(threads)
    env["RAYON_NUM_THREADS"] = str(threads)
    # What torch.compile made in the first round serves the later ones.
    env["TORCHINDUCTOR_CACHE_DIR"] = str(folder.parent / "inductor")
    env["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    return env


def worker(job, folder):
    """Runs worker.py on a job in a fresh process and gives back its result."""
    path = folder / f"{job['peer']}.{job['task']}.json"
    path.write_text(json.dumps(job))
    run = _run([sys.executable, str(HERE / "worker.py"), str(path)], job["threads"], folder)
    if run.returncode:
        raise NotRun(_reason(run))
    return json.loads(run.stdout.strip().splitlines()[-1])


def dsd(arguments, threads, folder):
    """Runs dsd and gives back its stdout, its stderr and its peak memory in MB."""
    result = folder / "launch.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-I", "-S", str(HERE / "launch.py"), str(result), *map(str, arguments)]
    run = _run([*command, "--threads", str(threads)], threads, folder)
    if run.returncode or not result.exists():
        raise NotRun(_reason(run))
    measured = json.loads(result.read_text())
    if measured["code"]:
        raise NotRun(_reason(run))
    return run.stdout, run.stderr, measured["peak_mb"]


def _run(command, threads, folder):
    env = environment(threads, folder)
    try:
        return subprocess.run(
            command, env=env, cwd=folder, capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotRun(f"took more than {TIMEOUT} s") from None


def _reason(run):
    """The last line of an error, which is the one that says what was wrong."""
    lines = [line.strip() for line in run.stderr.splitlines() if line.strip()]
    # Python names the exception at the start of a line; what follows may be a long explanation.
    named = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception", "NotRun"))]
    text = (named or lines or [f"exit code {run.returncode}"])[-1]
    return text.replace("|", "/")[:160]
