"""Which texts of a pool may be selected."""

import dataclasses

from dilm.config import DistillConfig, PoolConfig
from dilm.models.generator import Generator
from dilm.pool import Block, candidates, pool_blocks, write_block


def test_blocks_are_the_whole_pool_of_every_set_and_about_equally_long(task):
    for texts_per_dpc, lengths in ((512, [1024]), (513, [513, 513]), (1500, [1000] * 3), (1, [2])):
        blocks = pool_blocks(task, dataclasses.replace(config(texts_per_dpc=texts_per_dpc), dpc=(1,), sets=2))
        assert [(len(b.labels), b.number) for b in blocks] == [(n, s) for s in (0, 1) for n in lengths]
        for number in (0, 1):
            own = [b for b in blocks if b.number == number]
            assert [b.start for b in own] == [sum(lengths[:i]) for i in range(len(own))]
            assert [label for b in own for label in b.labels] == [0, 1] * texts_per_dpc


def test_blocks_of_a_set_are_written_from_seeds_of_their_own(task, hub_models):
    generator = Generator.from_pretrained(hub_models[0], 2, max_length=40)
    settings, block = DistillConfig(), Block(0, 0, [0, 1] * 3)
    texts = dict(write_block(generator, task, settings, block))
    assert dict(write_block(generator, task, settings, block)) == texts
    for other in (block._replace(start=6), block._replace(number=1)):
        assert dict(write_block(generator, task, settings, other)) != texts


def row(text: str, nll: float, label: int = 0, seen: int = 0) -> dict:
    return {"text": text, "label": label, "set": 0, "predicted_label": seen, "nll": nll}


def config(**pool) -> DistillConfig:
    return dataclasses.replace(DistillConfig(), pool=PoolConfig(**pool))


def kept(rows: list[dict], dpc: int, **pool) -> set[str]:
    return {row["text"] for row in candidates(rows, dpc, config(**pool), 2)}


def test_the_least_fluent_texts_of_each_class_cannot_be_selected():
    rows = [row(f"a {i}", nll=float(i)) for i in range(8)]
    rows += [row(f"b {i}", nll=10.0 + i, label=1, seen=1) for i in range(4)]
    assert kept(rows, 1, fluent_share=0.5) == {"a 0", "a 1", "a 2", "a 3", "b 0", "b 1"}
    assert kept(rows, 1) == {row["text"] for row in rows}
    assert kept(rows, 3, fluent_share=0.1) == {"a 0", "a 1", "a 2", "b 0", "b 1", "b 2"}, "never fewer than dpc"


def test_fluency_is_judged_among_texts_on_label():
    rows = [row("fluent, of the other class", 0.1, seen=1), row("good", 1.0), row("odd", 5.0), row("odder", 6.0)]
    rows += [row("b", 1.0, label=1, seen=1)]
    assert kept(rows, 1, fluent_share=0.34) == {"good", "b"}
    assert "fluent, of the other class" in kept(rows, 1, fluent_share=0.5, keep="all")


def test_duplicates_and_texts_without_letters_go_and_the_size_of_the_set_bounds_the_candidates():
    rows = [row("Good one", 1.0), row("good  ONE", 1.0), row("...", 1.0), row("other", 1.0), row("beyond", 1.0)]
    rows += [row("b", 1.0, label=1, seen=1)]
    assert kept(rows, 2, texts_per_dpc=2) == {"Good one", "other", "b"}
