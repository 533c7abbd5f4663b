#!/usr/bin/env python3
"""Writes golden.json: e-processes of random and of extreme blocks, computed with mpmath at 40 digits.

The formulas are written down here once more, in the plainest form and without logarithms of sums, so that a mistake of
the product is not repeated. Run: python3 golden.py > golden.json
"""
import json
import random

from mpmath import exp, log, mp, mpf

mp.dps = 40
COMMON = ["1.3", "1.7", "2.3", "3.2", "4.6", "7", "11", "18", "32", "60", "120"]
RATIOS = [mpf(x) for x in COMMON + ["250"]]
ODDS = [mpf(x) for x in COMMON + ["400"]]


def ratio_factor(block, rho0, phi, grid):
    nc, ec, ns, es = block
    w = nc / (nc + ns)
    r = rho0 * grid
    e = (r / rho0) ** ec * ((1 - w + w * rho0) / (1 - w + w * r)) ** (ec + es)
    return e ** (1 / phi)


def threshold_factor(block, p, phi, grid):
    n, e = block[0], block[1]
    odds = p / (1 - p) * grid
    q = odds / (1 + odds)
    if phi == 1:
        return (q / p) ** e * ((1 - q) / (1 - p)) ** (n - e)
    return exp((e * log(q / p) - n * (q - p)) / phi)


def process(factor, grid, blocks, parameter, phi, onset):
    sums, spent, k, out = [mpf(0)] * len(grid), mpf(0), 0, []
    for block in blocks:
        block = [mpf(x) for x in block]
        if block[0] + block[2] > 0:
            if onset is None:
                prior = mpf(1) if k == 0 else mpf(0)
            else:
                prior = mpf(1) / 2 if k == 0 else (mpf(1) / 2 / onset if k <= onset else mpf(0))
            sums = [factor(block, parameter, phi, g) * (s + prior) for s, g in zip(sums, grid)]
            spent += prior
            k += 1
        out.append(float(log(sum(sums) / len(grid) + (1 - spent))))
    return out


def number(x):
    return repr(round(x, 3)) if x != int(x) else str(int(x))


def blocks(rng, kind):
    out = []
    for k in range(rng.randint(1, 40)):
        nc, ns = rng.uniform(0, 300), rng.uniform(0, 4000)
        if rng.random() < 0.1:
            nc, ns = 0, 0
        if rng.random() < 0.1:
            nc = 0
        if rng.random() < 0.1:
            ns = 0
        if rng.random() < 0.5:
            nc, ns = int(nc), int(ns)
        pc = {"calm": 0.002, "bad": 0.2, "late": 0.2 if k > 15 else 0.001, "dead": 1.0}[kind]
        ec = min(nc, sum(rng.random() < pc for _ in range(int(nc))))
        es = min(ns, sum(rng.random() < 0.002 for _ in range(int(ns))))
        if rng.random() < 0.3:
            ec, es = ec * rng.random(), es * rng.random()
        out.append([number(x) for x in (nc, ec, ns, es)])
    return out


def main():
    rng = random.Random(20240229)
    cases = []
    for kind in ["calm", "bad", "late", "dead"]:
        for phi in ["1", "1.25", "8"]:
            for onset in [None, 3, 239]:
                data = blocks(rng, kind)
                for test, parameter in [("ratio", rng.choice(["1", "1.5", "3"])), ("threshold", rng.choice(["0.05", "0.001", "0.5"]))]:
                    factor, grid = (ratio_factor, RATIOS) if test == "ratio" else (threshold_factor, ODDS)
                    cases.append({
                        "test": test, "parameter": parameter, "phi": phi, "onset": onset, "blocks": data,
                        "ln": process(factor, grid, data, mpf(parameter), mpf(phi), onset),
                    })
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


main()
