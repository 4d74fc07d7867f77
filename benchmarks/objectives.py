"""Does another objective of stage 2 write texts that teach more? From one stage 1, a generator and a pool for each.

    python benchmarks/objectives.py runs/sst2 path/to/sst2 --output-dir runs/objectives
    python benchmarks/selections.py runs/objectives/bilevel path/to/sst2 --output-dir runs/sets bilevel=
    python benchmarks/on_dev.py path/to/sst2 none=runs/sets/none gradient=runs/sets/gradient bilevel=runs/sets/bilevel

`none` is stage 1 as it is. `gradient` is stage 2 with fresh heads, class by class. `bilevel` asks for a mini-batch that
teaches: a head is solved for on the weighted written texts of all classes (ridge regression, as selection by kernel
does it) and its loss on real texts is differentiated with respect to the weights of the texts,

    W = (P' A P + ridge I)^-1 P' A B,    L = |T W - Y|^2,    k_i = dL/dl_i by a_i = softmax(-l_i / tau) of i's class,

exactly, at the price of small matrices. Both look at the pretrained features alone (of a layer), which stay, so one
forward pass over the written texts serves all steps up to the next refresh. What is finished of an interrupted call is
kept: it begins again with the objective that it was at.
"""

import argparse
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from common import content, made_of, write_result
from torch import Tensor, nn

import dilm
from dilm.config import load_config
from dilm.durable import whole_folder, write_json
from dilm.evaluation.coresets import real_sample
from dilm.models.compute import derived_seed, make_optimizer
from dilm.models.feature_cache import pretrained_features
from dilm.models.generator import Generator
from dilm.pool import usable
from dilm.progress import Reporter
from dilm.run_folder import row_text
from dilm.selection.base import Reference, standardised, with_bias
from dilm.selection.kernel import RIDGE
from dilm.stages import write_texts
from dilm.training.gradient_matching import WrittenTexts, generator_gradient
from dilm.training.matching_loss import (
    Match,
    linear_head_gradient,
    loss_coefficients,
    match_linear_head,
    residuals,
    softmax_weights,
)
from dilm.workspace import Workspace

OBJECTIVES = ("none", "gradient", "bilevel")
SIZE = 20
"""Texts of a class that the weights of a mini-batch add up to: a set of this size meets the ridge of selection."""


class Real(NamedTuple):
    """The real texts: all that the objectives need of them."""

    inputs: Tensor
    labels: Tensor
    gram: Tensor
    cross: Tensor


def reference_texts(work: Workspace, depth: float) -> Reference:
    """Features and labels of the real texts, as selection sees them."""
    texts, labels = real_sample(work.task, 1, work.seed("coresets"))
    return Reference(pretrained_features(work.learner(), texts, depth), labels)


def points_of(features: np.ndarray, reference: Reference, depth: float) -> Tensor:
    """Features, of a middle layer standardised as in selection, with a constant beside them [n, d + 1]."""
    return torch.from_numpy(with_bias(standardised(features, reference)[0] if depth < 1 else features))


def real_texts(reference: Reference, depth: float) -> Real:
    """Points, and T'T and T'Y, in which all classes count alike."""
    inputs = points_of(reference.features, reference, depth)
    classes = torch.from_numpy(np.asarray(reference.labels, np.int64))
    counts = torch.bincount(classes)
    scaled = inputs / (len(counts) * counts[classes])[:, None]
    targets = nn.functional.one_hot(classes).double()
    return Real(inputs, classes, inputs.T @ scaled, scaled.T @ targets)


def gradient_match(nll: Tensor, inputs: Tensor, labels: Tensor, real: Real, tau: float, seed: int) -> Match:
    """The cosines of all classes at a fresh head (section 3.2); inputs are [n, d + 1]."""
    classes, wide = len(real.cross.T), inputs.shape[1]
    head = 0.02 * torch.randn(classes, wide, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    head[:, -1] = 0
    coefficients, losses = torch.zeros_like(nll), []
    for c in range(classes):
        own, members = labels == c, real.inputs[real.labels == c]
        even = torch.full((len(members),), 1 / len(members), dtype=torch.float64)
        towards = torch.full((len(members),), c)
        target = linear_head_gradient(members[:, :-1], residuals(members @ head.T, towards), even)
        at = residuals(inputs[own] @ head.T, labels[own])
        match = match_linear_head(nll[own], inputs[own, :-1], at, target, tau)
        coefficients[own] = match.coefficients / classes
        losses.append(match.loss)
    return Match(float(np.mean(losses)), 1 - float(np.mean(losses)), coefficients)


def bilevel_match(nll: Tensor, inputs: Tensor, labels: Tensor, real: Real, tau: float) -> Match:
    """The loss on real texts of the head that is learnt from the weighted texts of all classes; it has no cosine."""
    targets = nn.functional.one_hot(labels, len(real.cross.T)).double()
    weights = torch.zeros_like(nll)
    for c in range(len(real.cross.T)):
        weights[labels == c] = softmax_weights(nll[labels == c], tau)
    with torch.enable_grad():
        leaves = weights.clone().requires_grad_()
        weighted = inputs * (SIZE * leaves)[:, None]
        ridge = RIDGE * torch.eye(inputs.shape[1], dtype=torch.float64)
        head = torch.linalg.solve(inputs.T @ weighted + ridge, weighted.T @ targets)
        loss = (head * (real.gram @ head)).sum() - 2 * (head * real.cross).sum() + 1
        (slopes,) = torch.autograd.grad(loss, leaves)
    coefficients = torch.zeros_like(nll)
    for c in range(len(real.cross.T)):
        own = labels == c
        coefficients[own] = loss_coefficients(weights[own], slopes[own], tau)
    return Match(float(loss.detach()), float("nan"), coefficients)


def train(work: Workspace, generator: Generator, objective: str, depth: float) -> Iterator[float]:
    """Stage 2 by one of the objectives, on pretrained features that stay; yields each step's loss."""
    config, learner, reference = work.config.gradient_matching, work.learner(), reference_texts(work, depth)
    real = real_texts(reference, depth)
    written = WrittenTexts(generator, learner, work.task, config, work.config.top_p, work.seed("stage 2"))
    parameters = list(generator.model.parameters())
    optimizer, scheduler = make_optimizer(parameters, config, config.max_steps)
    generator.model.eval()
    features: dict[int, Tensor] = {}
    for step in range(config.max_steps):
        if step % written.refresh_steps == 0:
            written.refresh(step // written.refresh_steps)
            features = {
                c: points_of(learner.features(own.texts, depth=depth), reference, depth)
                for c, own in written.classes.items()
            }
        drawn = {c: own.batches.draw() for c, own in written.classes.items()}
        encoded = [written.classes[c].encoded[i] for c, rows in drawn.items() for i in rows]
        labels = torch.tensor([c for c, rows in drawn.items() for _ in rows])
        inputs = torch.cat([features[c][rows] for c, rows in drawn.items()])
        seed = derived_seed(work.config.seed, "head", step)

        def coefficients_of(nll: Tensor, inputs: Tensor = inputs, labels: Tensor = labels, seed: int = seed) -> Match:
            if objective == "bilevel":
                return bilevel_match(nll.double(), inputs, labels, real, config.temperature)
            return gradient_match(nll.double(), inputs, labels, real, config.temperature, seed)

        found = generator_gradient(generator, encoded, config.micro_batch_size, coefficients_of)
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        yield found.loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("task")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--texts", type=int, default=4000, help="of each pool")
    parser.add_argument("--depth", type=float, default=1.0, help="as of pool.depth: the layer that objectives look at")
    parser.add_argument("--objectives", nargs="+", default=OBJECTIVES, choices=OBJECTIVES)
    parser.add_argument("--name", help="of the results; the task's unless told")
    args = parser.parse_args()
    task, reporter, shown = dilm.load_task(args.task), Reporter(), {}
    for objective in args.objectives:
        steps = 0 if objective == "none" else args.steps
        facts = {"objective": objective, "steps": steps, "learning_rate": args.learning_rate, "texts": args.texts}
        judge = args.run / "checkpoints" / "full_data.safetensors"
        if args.depth < 1:
            facts["depth"] = args.depth
        folder = made_of(args.output_dir / objective, judge=content(judge), **facts)
        config = load_config(None, args.run / "config.yaml", {"dpc": [SIZE], "sets": 1})[0]
        texts_per_dpc = args.texts // SIZE // task.num_classes
        matching = {"max_steps": steps, "learning_rate": args.learning_rate}
        config = dataclasses.replace(
            config,
            gradient_matching=dataclasses.replace(config.gradient_matching, **matching),
            pool=dataclasses.replace(config.pool, texts_per_dpc=texts_per_dpc),
        )
        work = Workspace(task, config, folder, reporter)
        work.checkpoints.mkdir(exist_ok=True)
        shutil.copy(args.run / "config.yaml", folder)
        shutil.copy(judge, work.judge_path)
        if not (folder / "generator").exists():
            generator, losses = work.generator(args.run / "checkpoints" / "stage_1"), []
            if steps:
                losses = list(
                    reporter.track(
                        train(work, generator, objective, args.depth), objective, steps, "loss {:.4f}".format
                    )
                )
            write_json(folder / "losses.json", losses)
            with whole_folder(folder / "generator") as place:
                generator.save_pretrained(place)
        rows = write_texts(work, work.generator(folder / "generator"), work.learner())
        losses = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
        tenth = max(1, len(losses) // 10)
        shown[objective] = {
            "steps": len(losses),
            "loss": [float(np.mean(part)) for part in (losses[:tenth], losses[-tenth:])] if losses else None,
            "confirmed": float(np.mean([row["predicted_label"] == row["label"] for row in rows])),
            "different": len(usable(rows)) / len(rows),
            "words": float(np.mean([len(str(row_text(row)).split()) for row in rows])),
            "nll": float(np.mean([row["nll"] for row in rows])),
        }
        print(objective, shown[objective])
    path = Path(__file__).parent / "results" / f"objectives_{args.name or task.name}.json"
    write_result(path, {"task": task.name, "objectives": shown})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
