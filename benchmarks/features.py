"""Feature extraction and K-centers as the number of texts grows, against the plain way of writing them.

    python benchmarks/features.py --output benchmarks/results/features.json

Features: dilm's batches of similar length, in bfloat16 where the processor has it, against batches of 128 in the order
of the texts, in float32. K-centers: `nearest_to_centers` against scikit-learn's KMeans and the member nearest to each
centre; its inertia (mean squared distance to the nearest chosen text) stands beside the time. The plain way is timed on
at most --plain texts, and a rate is given. The features that are clustered are made by repetition with noise.
"""

import argparse
import time

import numpy as np
import torch
from common import write_result
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin_min

from dilm.models.compute import default_device, native_bf16
from dilm.models.learner import Learner
from dilm.reviews import generate
from dilm.selection.clustering import nearest_to_centers

CLUSTERS = 20


def plain_features(learner: Learner, texts: list[str]) -> np.ndarray:
    """What one writes first."""
    parts = []
    for start in range(0, len(texts), 128):
        batch = learner.collate(learner.encode(texts[start : start + 128]))
        with torch.no_grad():
            hidden = learner.encoder(**batch)[0]
        mask = batch["attention_mask"][..., None]
        parts.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy())
    return np.concatenate(parts)


def plain_centers(features: np.ndarray, k: int, seed: int) -> np.ndarray:
    """scikit-learn as it comes."""
    model = KMeans(k, n_init=1, random_state=seed).fit(features)
    return pairwise_distances_argmin_min(model.cluster_centers_, features)[0]


def timed(work, *arguments) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def inertia(features: np.ndarray, chosen: np.ndarray) -> float:
    """Mean squared distance to the nearest chosen text."""
    return float((pairwise_distances_argmin_min(features, features[chosen])[1] ** 2).mean())


def repeated(features: np.ndarray, count: int) -> np.ndarray:
    """`count` features of unit length: those given, again and again, with noise."""
    random = np.random.default_rng(0)
    many = features[random.integers(len(features), size=count)]
    many += random.standard_normal(many.shape, dtype=np.float32) * np.float32(0.01)
    return many / np.linalg.norm(many, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--plain", type=int, default=10_000, help="texts at most from which the plain way reads features"
    )
    parser.add_argument("--most", type=int, default=100_000, help="texts at most from which features are read")
    parser.add_argument("--learner", default="offline")
    parser.add_argument("--output")
    args = parser.parse_args()
    learner = Learner.from_pretrained(args.learner, 2, bf16=native_bf16(default_device()))
    texts = [row["text"] for row in generate(20_000, seed=0)]
    rows, features = [], np.empty((0, 0), np.float32)
    titles = ("texts", "features/s", "plain", "ratio", "K-centers, s", "plain, s", "ratio", "inertia", "plain")
    print(" ".join(f"{title:>12}" for title in titles))
    if min(args.sizes) > args.most:  # then no row reads any
        features = learner.features(texts)
    for size in sorted(args.sizes):
        row: dict = {"texts": size}
        if size <= args.most:
            many = [texts[i % len(texts)] for i in range(size)]
            seconds, features = timed(learner.features, many)
            plain, _ = timed(plain_features, learner, many[: args.plain])
            row |= {"per_second": size / seconds, "plain_per_second": min(size, args.plain) / plain}
        points = repeated(features, size)
        seconds, chosen = timed(nearest_to_centers, points, CLUSTERS, 0)
        plain, plain_chosen = timed(plain_centers, points, CLUSTERS, 0)
        row |= {"k_centers_seconds": seconds, "plain_k_centers_seconds": plain}
        row |= {"inertia": inertia(points, chosen), "plain_inertia": inertia(points, plain_chosen)}
        rows.append(row)
        rate, plain_rate = row.get("per_second", np.nan), row.get("plain_per_second", np.nan)
        figures = (rate, plain_rate, rate / plain_rate, seconds, plain, plain / seconds)
        shown = [f"{figure:>12,.1f}" for figure in figures] + [f"{row[k]:>12.4f}" for k in ("inertia", "plain_inertia")]
        print(f"{size:>12,} " + " ".join(shown), flush=True)
    if args.output:
        write_result(args.output, {"learner": args.learner, "clusters": CLUSTERS, "rows": rows})


if __name__ == "__main__":
    main()
