#!/usr/bin/env python3
"""Makes mosaic.png and labels.txt from scikit-learn's copy of the UCI digits.

    python3 make.py digits.csv.gz      (sklearn/datasets/data/digits.csv.gz)

Needs nothing but Python. The order is fixed here, once: see README.md.
"""
import gzip
import random
import struct
import sys
import zlib

COLUMNS, SIDE, LEVEL, TRAIN = 43, 8, 15, 1437


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def split(samples, shuffle):
    """Shuffled, with every class in the same proportion on both sides of TRAIN."""
    shuffle(samples)
    test_share = 1 - TRAIN / len(samples)
    train, test, seen, taken = [], [], [0] * 10, [0] * 10
    for sample in samples:
        label = sample[-1]
        seen[label] += 1
        if taken[label] < round(seen[label] * test_share):
            taken[label] += 1
            test.append(sample)
        else:
            train.append(sample)
    while len(train) > TRAIN:
        test.append(train.pop())
    while len(train) < TRAIN:
        train.append(test.pop())
    shuffle(train)
    shuffle(test)
    return train + test


def main():
    with gzip.open(sys.argv[1], "rt") as f:
        samples = [[int(v) for v in line.split(",")] for line in f]
    assert len(samples) == 1797 and all(len(s) == 65 for s in samples)
    samples = split(samples, random.Random(1998).shuffle)
    rows = -(-len(samples) // COLUMNS)
    width, height = COLUMNS * SIDE, rows * SIDE
    picture = [bytearray(width) for _ in range(height)]
    for i, sample in enumerate(samples):
        y, x = i // COLUMNS * SIDE, i % COLUMNS * SIDE
        for j, value in enumerate(sample[:-1]):
            picture[y + j // SIDE][x + j % SIDE] = value * LEVEL
    with open("mosaic.png", "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n")
        f.write(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)))
        f.write(chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in picture), 9)))
        f.write(chunk(b"IEND", b""))
    labels = "".join(str(s[-1]) for s in samples)
    with open("labels.txt", "w") as f:
        for i in range(0, len(labels), COLUMNS):
            f.write(labels[i : i + COLUMNS] + "\n")


main()
