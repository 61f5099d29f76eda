"""Whether Python's tensorboard package reads from the event files of a run what its metrics.jsonl says:

  python3 -m venv venv && venv/bin/pip install tensorboard
  dsd train --out run --tensorboard events
  venv/bin/python tests/tensorboard/same_scalars.py run events

It stops at the first difference, and says how many numbers were the same."""

import collections
import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

NAMES = ("loss", "lr", "density", "images_per_s", "waited")


def wanted(path):
    """By phase and tag: the numbers of the file by their steps."""
    points = collections.defaultdict(dict)
    for line in pathlib.Path(path).read_text().splitlines():
        line = json.loads(line)
        phase, step = line["phase"], line["global_iteration"]
        for name in NAMES:
            if name in line:
                points[phase, f"train/{name}"][step] = line[name]
        for name, value in line.get("outputs", {}).items():
            values = value if isinstance(value, list) else [value]
            for k, v in enumerate(values):
                tag = f"test/{name}/{k}" if len(values) > 1 else f"test/{name}"
                points[phase, tag][step] = v
    return points


def main():
    run, events = map(pathlib.Path, sys.argv[1:3])
    want, same = wanted(run / "metrics.jsonl"), 0
    phases = {phase for phase, _ in want}
    for phase in sorted(phases):
        accumulator = EventAccumulator(str(events / phase), size_guidance={"scalars": 0})
        accumulator.Reload()
        tags = set(accumulator.Tags()["scalars"])
        assert tags == {tag for p, tag in want if p == phase}, f"{phase}: {tags}"
        for tag in sorted(tags):
            got = {e.step: e.value for e in accumulator.Scalars(tag)}
            assert len(got) == len(accumulator.Scalars(tag)), f"{phase} {tag}: a step twice"
            expected = want[phase, tag]
            assert got.keys() == expected.keys(), f"{phase} {tag}: steps {sorted(got.keys() ^ expected.keys())}"
            for step, value in expected.items():
                value = math.nan if value is None else value
                close = math.isclose(got[step], value, rel_tol=1e-6) or (math.isnan(got[step]) and math.isnan(value))
                assert close, f"{phase} {tag} at {step}: {got[step]}, not {value}"
                same += 1
    print(f"{same} numbers of {len(phases)} phases are the same")


if __name__ == "__main__":
    main()
