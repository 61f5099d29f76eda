"""Compares dsd with its peers on this machine: see README.md beside this file.

The table goes to stdout, progress to stderr. Run it when nothing else runs.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import install
from install import say

ROOT = Path(__file__).resolve().parents[2]
NETS = ("squeezenet_v1.0", "alexnet", "googlenet", "resnet50", "mobilenet_v1")
MARK = "DSD_PEERS_FAILED"


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--case", choices=("inference", "train"), default="inference")
    add("--net", default="squeezenet_v1.0", help=f"a folder of models/: {', '.join(NETS)} (default: the first)")
    add("--batch", type=int, default=None, help="default: 1 for inference, 32 for training")
    add("--peers", help="names, or parts before a '-', with commas (default: all)")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=3.0, help="inference: how long each process repeats (default: 3)")
    add("--steps", type=int, default=8, help="training: steps of each process, the first two not counted")
    add("--threads", type=int, default=2)
    add("--as_installed", action="store_true",
        help="each engine in the precision it takes by itself, PyTorch under autocast, dsd with --precision bf16")  # fmt: skip
    add("--dsd", default=ROOT / "target" / "release" / "dsd", help="the program")
    add("--weights", default=ROOT.parent / "shared" / "data" / "squeezenet_deepcomp.net",
        help="SqueezeNet's weights; where the file is missing, random values")  # fmt: skip
    add("--venv", type=Path, default=install.venv_of(ROOT))
    add("--json", metavar="F", help="save all numbers")
    given = parser.parse_args()
    if given.batch is None:
        given.batch = 32 if given.case == "train" else 1
    if given.case == "train" and given.steps < 4:
        parser.error("--steps: at least 4")
    if not Path(given.dsd).exists():
        parser.error(f"{given.dsd} is missing: cargo build --release")
    if not (ROOT / "models" / given.net / "deploy.prototxt").exists():
        parser.error(f"--net: no models/{given.net}/deploy.prototxt")
    return given


def chosen(peers, names):
    """The peers of a case that --peers asks for."""
    if not names:
        return list(peers)
    wanted = names.split(",")
    found = [p for p in peers if p in wanted or p.split("-")[0] in wanted]
    unknown = [w for w in wanted if not any(w in (p, p.split("-")[0]) for p in peers)]
    if unknown:
        sys.exit(f"--peers: unknown {', '.join(unknown)}; there are {', '.join(peers)}")
    return found


def into_venv(given):
    """Installs what is missing and goes on in the environment's own Python."""
    if MARK in os.environ:
        return json.loads(os.environ[MARK])
    groups = [g for g in install.GROUPS if g != "base"]
    if given.peers:
        groups = [g for g in groups if any(name.split("-")[0] == g for name in given.peers.split(","))]
    elif given.case == "train":
        groups = ["pytorch"]
    failed = install.ensure(given.venv, groups)
    python = given.venv / "bin" / "python"
    os.environ[MARK] = json.dumps(failed)
    os.execv(python, [str(python), *sys.argv])


def measure(case, engines, rounds, results):
    """All rounds; an engine that fails is left out from then on."""
    for i in range(rounds):
        for engine in engines:
            result = results[engine]
            if result.get("reason"):
                continue
            try:
                numbers, difference = case.once(engine)
            except Exception as error:  # one peer's trouble is not the others'
                result["reason"] = str(error) or type(error).__name__
                say(f"round {i + 1}, {engine}: not run: {result['reason']}")
                continue
            result["rounds"].append(numbers)
            if difference is not None:
                result["difference"] = max(difference, result.get("difference", 0.0))
                # Written so that a NaN disagrees.
                result["agrees"] = bool(result["difference"] <= case.tolerance)
            say(f"round {i + 1}, {engine}: {numbers['rate']:.2f} images/s, {numbers['peak_mb']:.0f} MB")


def main():
    """Prepares the case, measures, prints."""
    given = options()
    not_installed = into_venv(given)
    from case import Inference, Train
    from machine import describe
    from processes import NotRun
    from table import markdown, summary

    kind = Train if given.case == "train" else Inference
    peers = chosen(kind.peers, given.peers)
    machine = describe(given.dsd, ROOT) | {"threads": given.threads}
    machine["precision"] = "each engine's own precision" if given.as_installed else "float32"
    if machine["load_before"] > 0.5:
        say(f"warning: something else runs here (load {machine['load_before']:.2f}); the numbers will be noisy")
    results = {name: {"rounds": []} for name in ["dsd", *peers]}
    usable = [p for p in peers if p.split("-")[0] not in not_installed]
    failed = {p: not_installed[p.split("-")[0]] for p in peers if p not in usable}
    try:
        case = kind(given, ROOT)
        failed |= case.prepare(usable)
    except NotRun as error:
        sys.exit(f"dsd: {error}")
    for peer, reason in failed.items():
        results[peer]["reason"] = reason
        say(f"{peer}: not run: {reason}")
    measure(case, ["dsd", *peers], given.rounds, results)
    rows = summary(results, given.rounds)
    title = f"{case.title} ({case.weights_from})"
    print(markdown(title, machine, rows, given.rounds, case.difference))
    if given.json:
        everything = dict(title=title, machine=machine, results=results, summary=rows)
        Path(given.json).write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
