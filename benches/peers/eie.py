"""Compares dsd's compressed inner products with SciPy's CSR on this machine.

This is `cargo bench --bench eie` beside SciPy, which multiplies in the same rounds, by the matrices that the
bench has made. Run it when nothing else runs.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parents[2]


def work(folder):
    """Times products on request: a line `PASSES LAYER…`, answered by the seconds of each layer in each pass. One
    more pass comes first, to warm up. An empty line ends it."""
    import numpy as np
    import scipy
    from scipy.sparse import csr_matrix

    layers = []
    while (folder / f"{len(layers)}.x").exists():
        read = lambda what, of: np.fromfile(folder / f"{len(layers)}.{what}", of)  # noqa: E731
        x, starts = read("x", np.float32), read("starts", np.int32)
        parts = (read("values", np.float32), read("columns", np.int32), starts)
        layers.append((csr_matrix(parts, shape=(len(starts) - 1, len(x))), x))
    print(scipy.__version__, flush=True)
    for line in sys.stdin:
        if not line.strip():
            break
        passes, *chosen = map(int, line.split())
        seconds = []
        for _ in range(passes + 1):
            for i in chosen:
                matrix, x = layers[i]
                start = time.perf_counter()
                y = matrix @ x
                seconds.append(time.perf_counter() - start)
                assert y.dtype == np.float32
        print(*seconds[len(chosen) :], flush=True)


def main():
    """Makes the environment and runs the bench with its Python; or is that Python."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--best", action="store_true", help="best times, not medians: for a busy machine")
    parser.add_argument("--venv", type=Path, default=install.venv_of(ROOT))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        return work(given.worker)
    for group, reason in install.ensure(given.venv, ["scipy"]).items():
        sys.exit(f"{group}: {reason}")
    python = given.venv.absolute() / "bin" / "python"
    os.chdir(ROOT)
    command = ["cargo", "bench", "--bench", "eie", "--", "--rounds", str(given.rounds), "--python", str(python)]
    command += ["--best"] * given.best
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
