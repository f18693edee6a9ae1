#!/usr/bin/env python3
"""Compares two files of `distill bench --json FILE`, old and new: what part of the machine's own peak
each training step reaches. Fails (1) where a share fell by more than the tolerance, where a step is gone,
or where the kernels in use are others; peaks themselves are only shown, since machines differ.

usage: bench_compare.py OLD.json NEW.json [--tolerance 0.1]
"""
import argparse
import json
import sys


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def compare(old, new, tolerance):
    """Prints a line for each fact; returns those that are worse."""
    worse = []
    for name, before in old["kernels"].items():
        after = new["kernels"].get(name, "none")
        peaks = [part["peak"].get(name, 0) for part in (old, new)]
        print(f"{name:24s} peak {peaks[0]:7.1f} -> {peaks[1]:7.1f}  ({after})")
        if before != after:
            worse.append(f"{name}: the kernels were {before}")
    for name, before in old["share_of_peak"].items():
        after = new["share_of_peak"].get(name, 0)
        fell = after < before * (1 - tolerance)
        print(f"{name:24s} share {before:6.3f} -> {after:6.3f}  {after / before - 1:+.1%}{'  WORSE' if fell else ''}")
        if fell:
            worse.append(f"{name}: {after:.3f} of the peak, it was {before:.3f}")
    if old["threads"] != new["threads"]:
        worse.append(f"threads: {new['threads']}, they were {old['threads']}")
    return worse


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--tolerance", type=float, default=0.1, help="how far a share may fall (default 0.1)")
    args = parser.parse_args()
    worse = compare(read(args.old), read(args.new), args.tolerance)
    for line in worse:
        print(line, file=sys.stderr)
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
