"""What one step of the generator in stage 2 costs: the paper's algorithm as it reads, against dilm's.

    python benchmarks/generator_step.py --task path/to/sst2 --output benchmarks/results/generator_step.json

*literal*: the learner is trained along its trajectory in float32; for every class the gradients of all its parameters
on the real and on the synthetic texts are taken by autograd with a graph, the head's part of them is matched, and the
cosine is back-propagated through both models. *literal, head only* asks autograd for the head's gradient alone.
*fresh* and *pool* are dilm's. All have the same models, texts, batch sizes and trajectories; writing the synthetic
texts is left out of all (benchmarks/sampling.py). *pool* carries its share of making the snapshots and of the teacher
gradients over a schedule of --schedule steps.

Also: operations counted by hand, and how long they would take at the rate of this machine's best matrix product.
The last line reads `literal/ours: fresh X.X pool Y.Y`.
"""

import argparse
import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from common import write_result
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import dilm
from dilm.config import GradientMatchingConfig, OptimizationConfig
from dilm.models.compute import default_device, make_optimizer, native_bf16
from dilm.models.generator import Generator
from dilm.models.learner import Learner
from dilm.task import Task
from dilm.training import gradient_matching
from dilm.training.learners import FreshLearners, PooledLearners, Trajectory
from dilm.training.minibatches import RealBatches
from dilm.training.teachers import Teachers


class Clock:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        synchronize()
        start = time.perf_counter()
        yield
        synchronize()
        self.seconds[name] += time.perf_counter() - start

    def timed(self, name: str, function):
        def call(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        return call


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def literal_steps(generator, learner, teachers, batches, task, config, clock, count, head_only) -> float:
    """Seconds of a step of the algorithm as it reads, on average over `count` steps along a trajectory."""
    optimizer, scheduler = make_optimizer(list(generator.model.parameters()), config, 100)
    head = set(learner.head_parameters())
    matched = learner.head_parameters() if head_only else dict(learner.model.named_parameters())
    learner.reinitialize(0)
    real_batches = iter(RealBatches(task, config.learner_batch_size, 0))
    learner_optimizer = torch.optim.AdamW(learner.model.parameters(), lr=config.learner_learning_rate)

    def gradients(texts, label, weights):
        with sdpa_kernel(SDPBackend.MATH):
            logits = learner.model(**learner.collate(learner.encode(texts))).logits
        labels = torch.full((len(texts),), label, device=learner.device)
        loss = (nn.functional.cross_entropy(logits, labels, reduction="none") * weights).sum()
        found = torch.autograd.grad(loss, list(matched.values()), create_graph=True, allow_unused=True)
        return torch.cat([g.flatten() for name, g in zip(matched, found, strict=True) if name in head])

    start = time.perf_counter()
    for step in range(count):
        with clock.part("learner training"):
            learner.model.train()
            for _ in range(config.learner_steps):
                texts, labels = next(real_batches)
                logits = learner.model(**learner.collate(learner.encode(texts))).logits
                nn.functional.cross_entropy(logits, torch.tensor(labels, device=learner.device)).backward()
                learner_optimizer.step()
                learner_optimizer.zero_grad()
            learner.model.eval()
        for c in range(task.num_classes):
            with clock.part("real gradient"):
                real_texts = teachers.texts(c, step % config.teacher_sets)
                real = gradients(real_texts, c, torch.full((len(real_texts),), 1 / len(real_texts)).to(learner.device))
            texts = batches[c][step]
            with clock.part("generator, forward"):
                nll = generator.nll(generator.encode(texts, [c] * len(texts)))
            with clock.part("synthetic gradient"):
                synthetic = gradients(texts, c, torch.softmax(-nll / config.temperature, 0))
                loss = 1 - nn.functional.cosine_similarity(real.detach(), synthetic, dim=0)
            with clock.part("backward through both"):
                (loss / task.num_classes).backward()
                learner.model.zero_grad()
        with clock.part("optimizer"):
            nn.utils.clip_grad_norm_(generator.model.parameters(), config.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return (time.perf_counter() - start) / count


class GivenTexts:
    """Stands in for `WrittenTexts`: the same texts for every way, without the cost of writing them."""

    def __init__(self, generator: Generator, config: GradientMatchingConfig, batches: list[list[list]]):
        self.generator, self.config, self.refresh_steps = generator, config, 10**9
        self.classes = {c: Given(generator, c, texts) for c, texts in enumerate(batches)}

    def refresh(self, number: int) -> None:
        """Nothing is written."""


class Given:
    def __init__(self, generator: Generator, label: int, batches: list[list]):
        self.texts = [text for batch in batches for text in batch]
        self.encoded = generator.encode(self.texts, [label] * len(self.texts))
        self.batches, self._size, self._at = self, len(batches[0]), 0

    def __iter__(self):
        return iter((self.texts, self.encoded, self))

    def draw(self) -> np.ndarray:
        self._at += self._size
        return np.arange(self._at - self._size, self._at) % len(self.texts)


def our_steps(generator, learners, batches, task, config, clock, count) -> float:
    """Seconds of a step of `match_gradients`, on average over `count` steps after a first one."""
    given = GivenTexts(generator, config, batches)
    patches = [
        mock.patch.object(gradient_matching, "WrittenTexts", lambda *args: given),
        mock.patch.object(gradient_matching, "_real_cosine", lambda *args: 0.0),
        mock.patch.object(learners, "move_to", clock.timed("learner, next point", learners.move_to)),
        mock.patch.object(learners, "teacher_target", clock.timed("teacher gradient", learners.teacher_target)),
        mock.patch.object(
            gradient_matching, "match_class", clock.timed("synthetic texts, learner", gradient_matching.match_class)
        ),
        mock.patch.object(
            gradient_matching,
            "generator_gradient",
            clock.timed("generator (all)", gradient_matching.generator_gradient),
        ),
    ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        steps = gradient_matching.match_gradients(
            generator, learners, task, config, top_p=0.95, seed=0, real_texts=[[] for _ in range(task.num_classes)]
        )
        next(steps)
        clock.seconds.clear()
        synchronize()
        start = time.perf_counter()
        for _ in range(count):
            next(steps)
        synchronize()
        seconds = (time.perf_counter() - start) / count
    clock.seconds["generator"] = clock.seconds.pop("generator (all)") - clock.seconds["synthetic texts, learner"]
    return seconds


def pool_making(task: Task, learner: Learner, teachers: Teachers, config: GradientMatchingConfig) -> dict[str, float]:
    """Seconds that a schedule spends on snapshots and on teacher gradients, from a few of each."""
    few = 6
    steps = OptimizationConfig(learning_rate=config.learner_learning_rate, lr_scheduler_type="constant", max_steps=few)
    batches = (learner.batch(*batch) for batch in RealBatches(task, config.learner_batch_size, 1))
    training = learner.train(batches, steps, seed=1)
    next(training)
    start = time.perf_counter()
    for _ in training:
        pass
    per_step = (time.perf_counter() - start) / (few - 1)
    learners = FreshLearners(task, learner, teachers, config, 1)
    start = time.perf_counter()
    for c in range(task.num_classes):
        learners.teacher_target(c, 0)
    per_gradient = (time.perf_counter() - start) / task.num_classes
    snapshots = config.trajectories * config.inner_steps
    return {
        "snapshots": config.trajectories * (config.inner_steps - 1) * config.learner_steps * per_step,
        "teacher gradients": snapshots * config.teacher_sets * task.num_classes * per_gradient,
    }


def operations(model, tokens: float, length: float, passes: float) -> float:
    """2 operations per weight of a matrix and token, and attention's 4 L d per layer and token, times the passes.

    A forward pass is 1, a backward pass 2; embeddings are looked up, not multiplied, but for a tied output layer.
    """
    names = {id(p) for p in model.get_input_embeddings().parameters()}
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in names)
    if getattr(model.config, "tie_word_embeddings", False) and model.get_output_embeddings() is not None:
        weights += model.get_input_embeddings().weight.numel()
    size, layers = model.config.hidden_size, model.config.num_hidden_layers
    return passes * tokens * (2 * weights + 4 * length * size * layers)


def operations_by_way(
    generator: Generator,
    learner: Learner,
    teachers: Teachers,
    batches: list[list[list]],
    task: Task,
    config: GradientMatchingConfig,
    schedule: int,
) -> dict[str, float]:
    """Operations of a step of each way, counted by hand; those of making the pool are shared out over the schedule."""

    def tokens(encoded: list[list[int]]) -> tuple[float, float]:
        lengths = [len(ids) for ids in encoded]
        return float(np.sum(lengths)), float(np.mean(lengths))

    def read(texts: list) -> tuple[float, float]:
        return tokens([row["input_ids"] for row in learner.encode(texts)])

    synthetic = [text for c in range(task.num_classes) for text in batches[c][0]]
    real = [text for c in range(task.num_classes) for text in teachers.texts(c, 0)]
    writing = operations(generator.model, *tokens(generator.encode(synthetic, [0] * len(synthetic))), passes=3)
    _, length = read(task.texts("train", range(min(2000, len(task.train)))))
    training = operations(learner.model, length * config.learner_batch_size * config.learner_steps, length, passes=3)
    reading = operations(learner.model, *read(synthetic), passes=1)
    teaching = operations(learner.model, *read(real), passes=1)
    snapshots = config.trajectories * config.inner_steps
    return {
        "literal": 3 * teaching + 6 * reading + writing + training,
        "fresh": teaching + reading + writing + training,
        "pool": reading
        + writing
        + training * config.trajectories * (config.inner_steps - 1) / schedule
        + teaching * snapshots * config.teacher_sets / schedule,
    }


def print_table(rows: list[dict]) -> None:
    """Each way with its parts, and how far it is from its floor."""
    print(f"{'way and part':<44} {'s/step':>8} {'GFLOP':>8} {'floor s':>8} {'of floor':>9}")
    for row in rows:
        floor = row.get("floor_seconds")
        tail = f" {row['gflop']:>8.0f} {floor:>8.2f} {row['seconds'] / floor:>8.1f}x" if floor else ""
        print(f"{row['way']:<44} {row['seconds']:>8.2f}{tail}")
        for part, seconds in row["parts"].items():
            print(f"  {part:<42} {seconds:>8.2f}")


def best_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    times = []
    for _ in range(5):
        synchronize()
        start = time.perf_counter()
        a @ b
        synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="reviews")
    parser.add_argument("--generator", default="offline")
    parser.add_argument("--learner", default="offline")
    parser.add_argument("--steps", type=int, default=3, help="steps measured of each literal way")
    parser.add_argument(
        "--our-steps", type=int, default=8, help="steps measured of each of ours, one trajectory at most"
    )
    parser.add_argument("--schedule", type=int, default=1000, help="steps over which the pool's making is spread")
    parser.add_argument("--output")
    args = parser.parse_args()
    task, device = dilm.load_task(args.task), default_device()
    bf16 = native_bf16(device)
    config = GradientMatchingConfig(
        learning_rate=3e-7, max_steps=10**6, teacher_size=200, teacher_sets=10, teacher_candidates=2000
    )
    learner = Learner.from_pretrained(args.learner, task.num_classes, device=device)
    generator = (
        Generator.from_texts(task.texts("train", range(min(20_000, len(task.train)))), task.num_classes, device=device)
        if args.generator == "offline"
        else Generator.from_pretrained(args.generator, task.num_classes, device=device)
    )
    teachers = Teachers(task, learner, config, 0)
    random, labels = np.random.default_rng(0), task.labels("train")
    count = max(args.steps, args.our_steps + 1)
    batches = []  # real texts stand in for written ones: what a step costs depends on their length alone
    for c in range(task.num_classes):
        rows = random.permutation(np.flatnonzero(labels == c))[: count * config.batch_size]
        texts = task.texts("train", np.resize(rows, count * config.batch_size))
        batches.append([texts[i : i + config.batch_size] for i in range(0, len(texts), config.batch_size)])

    def run(name, steps, *, precise: bool, **kwargs) -> dict:
        clock = Clock()
        generator.bf16 = learner.bf16 = bf16 and not precise
        seconds = steps(generator=generator, batches=batches, task=task, config=config, clock=clock, **kwargs)
        return {"way": name, "seconds": seconds, "parts": {k: v / kwargs["count"] for k, v in clock.seconds.items()}}

    rows = [
        run(name, literal_steps, precise=True, learner=learner, teachers=teachers, count=args.steps, head_only=head)
        for name, head in (("literal", False), ("literal, head only", True))
    ]
    fresh = FreshLearners(task, learner, teachers, config, 0)
    rows.append(run("fresh", our_steps, precise=False, learners=fresh, count=args.our_steps))
    making = pool_making(task, learner, teachers, config)
    with tempfile.TemporaryDirectory() as folder:
        pool = PooledLearners(task, learner, teachers, config, 0, Path(folder))
        with mock.patch.object(Trajectory, "points", lambda self: iter(range(config.inner_steps))):
            for _ in pool.build():  # what the snapshots hold makes no difference to the time
                pass
        for c in range(task.num_classes):
            for snapshot in range(pool.size):
                pool.move_to(0)
                target = pool.teacher_target(c, 0)
                pool._gradients |= {(snapshot, c, s): target for s in range(config.teacher_sets)}
        rows.append(run("pool", our_steps, precise=False, learners=pool, count=args.our_steps))
    for name, seconds in making.items():
        rows[-1]["parts"][f"{name}, share of {args.schedule} steps"] = seconds / args.schedule
        rows[-1]["seconds"] += seconds / args.schedule

    counted = operations_by_way(generator, learner, teachers, batches, task, config, args.schedule)
    rates = {"float32": best_rate(device, torch.float32)}
    if bf16:
        rates["bfloat16"] = best_rate(device, torch.bfloat16)
    for row in rows:
        if row["way"] in counted:
            rate = rates["float32" if row["way"] == "literal" or not bf16 else "bfloat16"]
            row |= {"gflop": counted[row["way"]] / 1e9, "floor_seconds": counted[row["way"]] / rate}
    print_table(rows)
    best = {row["way"]: row["seconds"] for row in rows}
    ratios = {way: best["literal"] / best[way] for way in ("fresh", "pool")}
    if args.output:
        facts = {"task": task.name, "generator": args.generator, "learner": args.learner, "rows": rows}
        facts |= {"operations_per_second": rates, "schedule": args.schedule, "ratios": ratios}
        write_result(args.output, facts)
    print(f"literal/ours: fresh {ratios['fresh']:.1f} pool {ratios['pool']:.1f}")


if __name__ == "__main__":
    main()
