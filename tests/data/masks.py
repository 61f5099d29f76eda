"""Makes masks.json: what each rule for masks gives, by NumPy alone.

Run `python3 masks.py` in this folder (NumPy 1.22 or later). tests/mask_goldens.rs compares.
"""

import json

import numpy as np

F = np.float32
BITS = (1 << 64) - 1
rng = np.random.default_rng(14)


def weights(*shape):
    """Normal values, an eighth of them with a twin of equal magnitude."""
    w = rng.standard_normal(shape).astype(F).ravel()
    for i in range(0, w.size - 1, 8):
        w[i + 1] = -w[i]
    return w.reshape(shape)


def count(part, n):
    """round(S·n), halves away from 0."""
    return int(np.floor(part * n + 0.5))


def smallest(values, k):
    """The k smallest magnitudes, of equals the first: a stable sort."""
    return np.argsort(np.abs(values.ravel()), kind="stable")[:k]


def by_magnitude(w, k):
    mask = np.ones(w.size, bool)
    mask[smallest(w, k)] = False
    return mask


def global_masks(arrays, part):
    every = np.concatenate([a.ravel() for a in arrays])
    mask = by_magnitude(every, count(part, every.size))
    return np.split(mask, np.cumsum([a.size for a in arrays])[:-1])


def erk_counts(shapes, part):
    n = np.array([np.prod(s) for s in shapes], np.float64)
    raw = np.array([np.sum(s) / np.prod(s) for s in shapes])
    wanted = int(n.sum()) - count(part, int(n.sum()))
    dense = np.zeros(len(shapes), bool)
    while True:
        scale = (wanted - n[dense].sum()) / (raw * n)[~dense].sum()
        density = np.where(dense, 1.0, scale * raw)
        if not (density > 1).any():
            break
        dense |= density > 1
    exact = density * n
    alive = np.floor(exact).astype(int)
    lost = exact - alive
    for i in np.argsort(-lost, kind="stable")[: wanted - alive.sum()]:
        alive[i] += 1
    assert alive.sum() == wanted
    return alive


def groups(w, n, m):
    """Groups along the input channels, axis 1, at each output and place of the kernel."""
    rows = np.moveaxis(w, 1, -1)
    mask = np.zeros(rows.shape, bool)
    for at in np.ndindex(*rows.shape[:-1]):
        for first in range(0, rows.shape[-1], m):
            part = np.abs(rows[at][first : first + m])
            lost = max(len(part) - n, 0)
            mask[at][first + np.argsort(part, kind="stable")[lost:]] = True
    return np.moveaxis(mask, -1, 1).ravel()


def mix(z):
    z = (z + 0x9E3779B97F4A7C15) & BITS
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & BITS
    return z ^ (z >> 31)


def chance(seed, stream, iteration, size, k):
    """The k weights of smallest drawn number go. Masks are the fifth purpose of random numbers."""
    key = mix(mix(mix(seed ^ mix(5)) ^ stream) ^ mix(iteration))
    drawn = [mix(key ^ mix(i)) for i in range(size)]
    mask = np.ones(size, bool)
    mask[sorted(range(size), key=lambda i: drawn[i])[:k]] = False
    return mask


def rigl(mask, w, g, k):
    """Of the living, the k smallest die; of all then dead, the k of largest gradient grow."""
    living = np.flatnonzero(mask)
    die = living[np.argsort(np.abs(w[living]), kind="stable")[:k]]
    kept = mask.copy()
    kept[die] = False
    dead = np.flatnonzero(~kept)
    kept[dead[np.argsort(-np.abs(g[dead]), kind="stable")[:k]]] = True
    assert kept.sum() == mask.sum()
    return kept


def cosine(alpha, until, t, alive):
    return int(alpha / 2 * (1 + np.cos(np.pi * t / until)) * alive)


def acdc():
    """Weights that wander, pruned to 60% in stretches of two steps."""
    w, out = weights(40), []
    dense, mask = [w.tolist()], None
    for t in range(6):
        if t % 2 == 0:
            mask = by_magnitude(w, count(0.6, w.size)) if t % 4 == 0 else np.ones(40, bool)
            w = w * mask
        out.append(mask.tolist())
        step = rng.standard_normal(40).astype(F) * F(0.3)
        dense.append(step.tolist())
        w = (w + step) * mask
    return {"steps": dense, "masks": out, "end": w.tolist()}


def srste():
    """One layer y = W̃·x of 2:4, ½·|y − t|²/n for n equal samples, SGD with momentum and decay, in float32."""
    x = np.array([0.5, -1.0, 0.25, 2.0, 1.5, -0.75, 1.0, 0.125], F)
    t = np.array([1.0, 1.0, 1.0, 1.0], F)
    w = weights(4, 8) * F(0.2)
    start, h, course = w.copy(), np.zeros_like(w), []
    rate, momentum, decay, through = F(0.05), F(0.9), F(0.01), F(0.02)
    for _ in range(6):
        mask = groups(w, 2, 4).reshape(w.shape)
        g = np.outer((w * mask) @ x - t, x).astype(F)
        g = g + decay * w + through * ~mask * w
        h = momentum * h + rate * g
        w = w - h
        course.append({"dense": w.ravel().tolist(), "mask": groups(w, 2, 4).tolist()})
    return {"x": x.tolist(), "start": start.ravel().tolist(), "course": course}


def main():
    arrays = [weights(6, 4, 3, 3), weights(8, 6, 1, 1) * F(2), weights(10, 32) * F(0.3)]
    shapes = [(6, 4, 3, 3), (16, 16, 3, 3), (64, 640), (10, 64)]
    conv, ip = weights(4, 6, 2, 2), weights(3, 10)
    w, g = weights(200), weights(200)
    mask = by_magnitude(w, 120)
    w = w * mask
    golden = {
        "global": {
            "weights": [a.ravel().tolist() for a in arrays],
            "masks": {str(s): [m.tolist() for m in global_masks(arrays, s)] for s in (0.3, 0.8)},
        },
        "erk": {
            "shapes": shapes,
            "alive": {str(s): erk_counts(shapes, s).tolist() for s in (0.25, 0.5, 0.8, 0.9, 0.98)},
        },
        "groups": [
            {"rule": f"{n}:{m}", "dims": a.shape, "weights": a.ravel().tolist(), "mask": groups(a, n, m).tolist()}
            for a, n, m in ((conv, 2, 4), (conv, 1, 3), (ip, 2, 4), (ip, 4, 8))
        ],
        "random": [
            {"seed": seed, "stream": stream, "iteration": it, "mask": chance(seed, stream, it, 100, 50).tolist()}
            for seed, stream, it in ((1, 0, 0), (1, 2, 0), (7, 0, 40))
        ],
        "rigl": {
            "weights": w.tolist(),
            "gradients": g.tolist(),
            "mask": mask.tolist(),
            "next": {str(k): rigl(mask, w, g, k).tolist() for k in (1, 10, 40, 80)},
            "exchanged": [[t, cosine(0.3, 750, t, 12345)] for t in range(100, 750, 100)],
        },
        "acdc": acdc(),
        "srste": srste(),
    }
    with open("masks.json", "w") as f:
        # Lines of their own for the parts, true and false as digits.
        text = json.dumps(golden, indent=None, separators=(",", ":"))
        f.write(text.replace("true", "1").replace("false", "0") + "\n")


main()
