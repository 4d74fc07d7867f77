"""After which layer of the pretrained learner are classes told apart best? Logistic regression, asked of the dev split.

    python benchmarks/layers.py path/to/sst2 path/to/qqp path/to/mnli --output benchmarks/results/layers.json

Trained on --texts training texts, tested on --dev-texts dev texts, on `Learner.features` at the depth of every layer;
0 are the embeddings. `shared` is the squared length of the features' mean: what all texts have in common, of 1.
"""

import argparse

import numpy as np
from common import write_result
from sklearn.linear_model import LogisticRegression

import dilm
from dilm.models.compute import default_device, native_bf16
from dilm.models.learner import Learner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--learner", default="offline")
    parser.add_argument("--texts", type=int, default=6000)
    parser.add_argument("--dev-texts", type=int, default=2000)
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    figures = {}
    for source in args.tasks:
        task, random, device = dilm.load_task(source), np.random.default_rng(0), default_device()
        learner = Learner.from_pretrained(args.learner, task.num_classes, bf16=native_bf16(device), device=device)
        layers = learner.model.config.num_hidden_layers
        train = random.permutation(len(task.train))[: args.texts]
        dev = random.permutation(len(task.dev))[: args.dev_texts]
        labels, held_out = task.labels("train")[train], task.labels("dev")[dev]
        figures[task.name] = {"largest_class": float(np.bincount(held_out).max() / len(dev)), "layers": {}}
        for layer in range(layers + 1):
            depth = layer / layers or 0.01  # a depth is above 0
            features = learner.features(task.texts("train", train), depth=depth)
            model = LogisticRegression(C=10, max_iter=300).fit(features, labels)
            accuracy = float(model.score(learner.features(task.texts("dev", dev), depth=depth), held_out))
            shared = float((features.mean(0) ** 2).sum())
            figures[task.name]["layers"][layer] = {"accuracy": accuracy, "shared": shared}
            print(f"{task.name}, layer {layer}: {100 * accuracy:.1f}, {shared:.2f} shared", flush=True)
    write_result(args.output, {"texts": args.texts, "dev_texts": args.dev_texts, "tasks": figures})


if __name__ == "__main__":
    main()
