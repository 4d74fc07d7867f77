"""Learners of every kind, by name: what they learn, what they refuse."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from conftest import tiny_gpt2
from tokenizers import normalizers
from transformers import GPT2LMHeadModel, Lfm2Config, Lfm2ForCausalLM

from dilm import InputError
from dilm.config import RecipeConfig
from dilm.evaluation import probing, scratch
from dilm.evaluation.fine_tuning import FineTuning
from dilm.evaluation.in_context import InContext
from dilm.evaluation.learners import KINDS, make_learners, parse_learner
from dilm.evaluation.probing import TfIdf, logistic_regression
from dilm.evaluation.protocol import Evaluator, held_out
from dilm.evaluation.scratch import Scratch, WordConvolution
from dilm.evaluation.training_sets import HeldOut, TrainingSet
from dilm.prompts import layout

CPU = torch.device("cpu")


def real_set(task, dpc, shift=0):
    labels = task.labels("train")
    rows = [int(i) for c in range(task.num_classes) for i in np.flatnonzero(labels == c)[shift : shift + dpc]]
    return TrainingSet("random", dpc, 0, task.texts("train", rows), labels[rows].tolist())


def accuracy(learner, training_set, test, seed=0):
    return float((learner.predict(training_set, test, seed) == test.labels).mean())


def test_names_of_learners():
    assert parse_learner("probe:offline") == ("probe", "offline")
    assert parse_learner("icl:C:/models/x") == ("icl", "C:/models/x")
    assert parse_learner("tfidf") == ("tfidf", None)
    assert parse_learner("finetune", alone=True) == ("finetune", None)
    for name, message in (
        ("finetun:x", "did you mean 'finetune'"),
        ("finetune", "as in finetune:offline"),
        ("tfidf:x", "takes no id"),
    ):
        with pytest.raises(InputError, match=message):
            parse_learner(name)


def test_every_kind_learns_something_that_depends_on_set_and_seed_alone(task, hub_models, tokenizer, tmp_path):
    gpt2, bert = longer_gpt2(tokenizer, tmp_path), hub_models[1]
    names = [f"icl:{gpt2}", f"finetune:{bert}", "tfidf", f"scratch:{bert}", f"probe:{bert}", "tfidf"]
    config = RecipeConfig(max_steps=5)
    made = make_learners(names, task, config, max_length=48, bf16=False, device=CPU)
    assert [learner.name.partition(":")[0] for learner in made] == list(KINDS)
    assert len({id(learner.learner) for learner in made if hasattr(learner, "learner")}) == 1  # loaded once
    test, chosen = HeldOut(task.texts("test", range(20)), task.labels("test")[:20]), real_set(task, 1)
    for learner in made:
        learner.check(chosen)
        first = learner.predict(chosen, test, seed=1)
        assert first.shape == (20,) and set(first.tolist()) <= {0, 1}
        learner.predict(real_set(task, 1, shift=5), test, seed=2)
        assert np.array_equal(learner.predict(chosen, test, seed=1), first), learner.name


def test_soft_labels_take_the_place_of_labels_and_certain_ones_teach_the_same(task, hub_models):
    names = ["tfidf", *(f"{kind}:{hub_models[1]}" for kind in ("probe", "scratch", "finetune"))]
    test, chosen = held_out(task, "test", 80), real_set(task, 20)
    certain = dataclasses.replace(chosen, label_probs=np.eye(2)[chosen.labels].tolist())
    same = dataclasses.replace(chosen, label_probs=[[0.1, 0.9]] * 40)
    config = RecipeConfig(max_steps=60, learning_rate=1e-2)
    for learner in make_learners(names, task, config, max_length=48, bf16=False, device=CPU):
        hard = learner.predict(chosen, test, seed=1)
        assert np.array_equal(learner.predict(certain, test, seed=1), hard), learner.name
        assert learner.predict(same, test, seed=1).min() == 1, learner.name


def test_fine_tuning_takes_soft_labels_in_bfloat16(task, hub_models):
    chosen = dataclasses.replace(real_set(task, 3), label_probs=[[0.1, 0.9]] * 6)
    config = RecipeConfig(max_steps=30, learning_rate=1e-2)
    (learner,) = make_learners([f"finetune:{hub_models[1]}"], task, config, max_length=48, bf16=True, device=CPU)
    assert learner.predict(chosen, held_out(task, "test", 10), seed=0).tolist() == [1] * 10


def test_prompts_are_made_of_no_soft_labels(task, tokenizer, tmp_path):
    config = RecipeConfig(seeds=1)
    name = f"icl:{longer_gpt2(tokenizer, tmp_path)}"
    made = make_learners([name, "tfidf"], task, config, max_length=48, bf16=False, device=CPU)
    hard = real_set(task, 1)
    soft = dataclasses.replace(hard, method="soft", label_probs=[[0.6, 0.4]] * 2)
    planned = Evaluator(task, made, config).plan([hard, soft])
    assert [(run.training_set.method, run.learner.name) for run in planned] == [
        ("random", "tfidf"),
        ("soft", "tfidf"),
        ("random", name),
    ]


def test_logistic_regression_on_soft_labels_is_that_on_each_text_as_often_as_its_probabilities_say(monkeypatch):
    random = np.random.default_rng(0)
    features, test = random.normal(size=(30, 4)), random.normal(size=(500, 4))
    quarters = random.multinomial(4, [0.5, 0.3, 0.2], size=30)
    soft = logistic_regression(features, (quarters / 4).tolist(), test)
    labels = np.concatenate([np.repeat(np.arange(3), own) for own in quarters])
    monkeypatch.setattr(probing, "REGULARIZATION", probing.REGULARIZATION / 4)
    repeated = logistic_regression(np.repeat(features, 4, axis=0), labels.tolist(), test)
    assert (soft == repeated).mean() > 0.99 and len(set(soft.tolist())) == 3


def test_words_alone_tell_reviews_apart(task, learner):
    test = held_out(task, "test", 80)
    assert accuracy(TfIdf(), real_set(task, 150), test) > 0.7
    network = Scratch("scratch:x", learner, RecipeConfig(max_steps=120))
    assert accuracy(network, real_set(task, 150), test) > 0.65
    for rate in (1e-4, 0.1):  # the recipe's dial reaches it
        assert Scratch("scratch:x", learner, RecipeConfig(learning_rate=rate)).recipe["learning_rate"] == 10 * rate


def test_tfidf_compares_the_two_texts_of_a_pair():
    random = np.random.default_rng(0)
    words = ["red", "green", "blue", "black", "white", "brown", "pink", "grey", "gold", "teal"]

    def pairs(count):
        labels = np.arange(count) % 2
        picks = [random.permutation(words)[:6] for _ in range(count)]
        texts = [(" ".join(p[:3]), " ".join(p[:3] if same else p[3:])) for p, same in zip(picks, labels, strict=True)]
        return texts, labels

    texts, labels = pairs(60)
    assert accuracy(TfIdf(), TrainingSet("m", 30, 0, texts, labels.tolist()), HeldOut(*pairs(40))) > 0.9


def test_a_set_with_shuffled_labels_teaches_nothing(task):
    test, scores = held_out(task, "test", 80), []
    for seed in range(8):
        chosen = real_set(task, 60)
        labels = np.random.default_rng(seed).permutation(chosen.labels).tolist()
        scores.append(accuracy(TfIdf(), TrainingSet("shuffled", 60, seed, chosen.texts, labels), test))
    assert abs(np.mean(scores) - 0.5) < 0.08


def test_fine_tuning_goes_the_same_way_as_plain_training_steps(task, learner):
    """Tokenised once, grouped, with a compact embedding: the same predictions as a loop without any of it."""
    config = RecipeConfig(max_steps=8, learning_rate=1e-3)
    for module in learner.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    chosen = real_set(task, 4)
    FineTuning("f", learner, config).fit(chosen, seed=3)
    ours = learner.predict(chosen.texts)
    learner.reinitialize(3)
    optimizer = torch.optim.AdamW(learner.model.parameters(), lr=1e-3, weight_decay=0.01)
    for step in range(8):
        for group in optimizer.param_groups:
            warm = min(1.0, step / 4)
            group["lr"] = 1e-3 * (warm if step < 4 else 0.5 * (1 + np.cos(np.pi * (step - 4) / 4)))
        batch = learner.collate(learner.encode(chosen.texts))
        torch.nn.functional.cross_entropy(learner.model(**batch).logits, torch.tensor(chosen.labels)).backward()
        torch.nn.utils.clip_grad_norm_(learner.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert np.allclose(learner.predict(chosen.texts), ours, atol=1e-3)


# -- in-context learning ----------------------------------------------------------------------------------------


def in_context(source, names=("negative", "positive"), **kwargs):
    return InContext("icl:tiny", source, names, device=CPU, **kwargs)


def literal_scores(learner, prompt, text, names):
    """One forward pass per label name over the whole prompt."""
    scores = []
    for name in names:
        label = learner._ids(f" {name}")
        ids = prompt + learner._ids(layout(text)) + label
        with torch.no_grad():
            logits = learner.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        scores.append(sum(float(logits[len(ids) - len(label) + i - 1, token]) for i, token in enumerate(label)))
    return scores


def longer_gpt2(tokenizer, folder, positions=256):
    torch.manual_seed(0)
    tiny_gpt2(tokenizer, positions).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_label_names_are_spelled_as_in_the_examples_where_every_text_gets_a_space(tokenizer, tmp_path):
    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend(" ")
    learner = in_context(longer_gpt2(tokenizer, tmp_path))
    prompt = learner._prompt(TrainingSet("m", 1, 0, ["It was  bad.", "It was good."], [0, 1]), [1, 0])
    spelled = [tokenizer.decode(ids) for ids in learner.labels]
    assert spelled == [" negative", " positive"] and tokenizer.decode(learner._ids(" positive")) == "  positive"
    for ids in learner.labels:
        assert any(prompt[i : i + len(ids)] == ids for i in range(len(prompt)))
    assert learner.recipe["label_tokens"] == learner.labels


@pytest.mark.parametrize("names", [("negative", "positive"), ("x", "y")])
def test_in_context_scores_equal_one_pass_per_label(tokenizer, tmp_path, names):
    learner = in_context(longer_gpt2(tokenizer, tmp_path), names, batch_size=2)
    chosen = TrainingSet("m", 1, 0, ["It was  bad.", "It was good."], [0, 1])
    prompt = learner._prompt(chosen, [1, 0])
    texts = ["A fine film.", "No.", "The plot is clever but the ending ruins it."]
    slow = [literal_scores(learner, prompt, text, names) for text in texts]
    assert np.allclose(learner.log_probabilities(prompt, texts), slow, atol=1e-3)


def test_calibration_divides_by_what_the_prompt_alone_makes_likely(tokenizer, tmp_path):
    folder = longer_gpt2(tokenizer, tmp_path)
    plain, calibrated = (in_context(folder, calibrated=c) for c in (False, True))
    chosen = TrainingSet("m", 1, 0, ["It was bad.", "It was good."], [0, 1])
    test = HeldOut([f"text number {i}" for i in range(30)], np.arange(30) % 2)
    prompt = plain._prompt(chosen, np.random.default_rng(0).permutation(2).tolist())
    scores = plain.log_probabilities(prompt, test.texts)
    free = np.log(np.exp(plain.log_probabilities(prompt, ["N/A", "", "[MASK]"])).mean(0))
    assert np.array_equal(plain.predict(chosen, test, 0), scores.argmax(1))
    assert np.array_equal(calibrated.predict(chosen, test, 0), (scores - free).argmax(1))
    assert plain.recipe != calibrated.recipe


def test_a_model_whose_state_is_not_of_attention_alone_is_refused(tokenizer, tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    layers = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"], "block_multiple_of": 16}
    Lfm2ForCausalLM(Lfm2Config(vocab_size=len(tokenizer), **sizes, **layers)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="attention alone"):
        in_context(str(tmp_path))


def test_calibration_holds_where_every_label_is_all_but_impossible(tokenizer, tmp_path, monkeypatch):
    learner = in_context(longer_gpt2(tokenizer, tmp_path), calibrated=True)
    free, scores = np.float32([[-200, -1]] * 3), np.float32([[-250, -3], [-190, -3]])
    monkeypatch.setattr(learner, "log_probabilities", lambda _, texts: free if len(texts) == 3 else scores)
    chosen = TrainingSet("m", 1, 0, ["It was bad.", "It was good."], [0, 1])
    assert learner.predict(chosen, HeldOut(["one", "two"], np.arange(2)), 0).tolist() == [1, 0]


def test_a_model_is_known_by_its_weights_and_tokenizer_not_by_its_place(tokenizer, tmp_path):
    folder, other = longer_gpt2(tokenizer, tmp_path / "one"), tmp_path / "other"
    before = in_context(folder).recipe
    shutil.copytree(folder, other)
    assert in_context(str(other)).recipe == before
    model = GPT2LMHeadModel.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight += 1e-3
    model.save_pretrained(folder)
    assert in_context(folder).recipe != before, "trained on, in place"
    tokenizer.add_tokens(["unheard"])
    tokenizer.save_pretrained(other)
    assert in_context(str(other)).recipe != before


def test_a_class_whose_name_begins_with_anothers_can_win(tokenizer, tmp_path):
    learner = in_context(longer_gpt2(tokenizer, tmp_path), ("refund", "refund request"))
    assert learner.spelled == ["refund\n\n", "refund request\n\n"]
    prompt = learner._prompt(TrainingSet("m", 1, 0, ["It was bad.", "It was good."], [0, 1]), [1, 0])
    texts = [f"text number {i}" for i in range(3)]
    slow = [literal_scores(learner, prompt, text, learner.spelled) for text in texts]
    assert np.allclose(learner.log_probabilities(prompt, texts), slow, atol=1e-3)


def test_a_decoder_can_be_fine_tuned_too(task, hub_models):
    config = RecipeConfig(max_steps=2, batch_size=4)
    (learner,) = make_learners([f"finetune:{hub_models[0]}"], task, config, max_length=32, bf16=False, device=CPU)
    assert learner.predict(real_set(task, 2), held_out(task, "test", 10), seed=0).shape == (10,)


def test_a_prompt_that_does_not_fit_is_refused_and_a_long_text_is_cut(tokenizer, tmp_path, task):
    learner = in_context(longer_gpt2(tokenizer, tmp_path, positions=80))
    with pytest.raises(InputError, match=r"make a prompt of \d+ tokens, but the model reads 80"):
        learner.check(real_set(task, 5))
    short = TrainingSet("m", 1, 0, ["bad", "good"], [0, 1])
    learner.check(short)
    predictions = learner.predict(short, HeldOut(["word " * 300, "fine"], np.array([0, 1])), 0)
    assert predictions.shape == (2,)


def test_of_a_long_pair_something_is_left_of_both_texts(tokenizer, tmp_path):
    learner = in_context(longer_gpt2(tokenizer, tmp_path, positions=200))
    long, short = "word " * 300, "a great phone"
    for pair, other in (((long, short), "Text 2: a great phone"), ((short, long), "Text 1: a great phone")):
        ids = learner._query(pair, 90)
        asked = learner.tokenizer.decode(ids)
        assert len(ids) <= 90 and other in asked and asked.endswith("Label:") and "word word" in asked
    both = learner.tokenizer.decode(learner._query((long, long), 60))
    assert both.count("word") > 10 and "word" in both.split("Text 2:")[1]


def test_layout_of_texts_and_pairs():
    assert layout("a\n b") == "Text: a b\nLabel:"
    assert layout(("a", "b")) == "Text 1: a\nText 2: b\nLabel:"


def test_the_network_from_scratch_is_a_convolution_over_words(task, hub_models):
    """Against convolutions of each window over the embeddings of each text, with the same weights."""
    (learner,) = make_learners(
        [f"scratch:{hub_models[1]}"], task, RecipeConfig(), max_length=32, bf16=False, device=CPU
    )
    assert isinstance(learner, Scratch)
    embeddings, filters = learner._words, 5
    network = WordConvolution(embeddings.shape[1], 2, filters).eval()
    torch.nn.init.normal_(network.bias)
    texts = ["It broke.", "It broke and I sent it back the same day.", "I loved it, really.", "Fine."]
    groups = [learner.learner.collate(learner.learner.encode(part)) for part in (texts[:2], texts[2:])]
    different, places = scratch._by_words(groups)
    logits = network(scratch.Words(embeddings[different], places))
    maps = network.words.weight.split(filters)
    for row, (ids, mask) in enumerate(
        (i, m) for g in groups for i, m in zip(g["input_ids"], g["attention_mask"], strict=True)
    ):
        words = (embeddings[ids] * mask[:, None]).T[None]
        strongest, used = [], 0
        for size in network.WINDOWS:
            kernel = torch.stack(maps[used : used + size], 2)
            used += size
            padded = torch.nn.functional.pad(words, (0, size - 1))
            strongest.append(torch.nn.functional.conv1d(padded, kernel).amax(2)[0])
        slow = network.output((torch.cat(strongest) + network.bias).relu())
        assert torch.allclose(logits[row], slow, atol=1e-5)


def test_the_network_from_scratch_reads_held_out_texts_once(task, hub_models, monkeypatch):
    (learner,) = make_learners(
        [f"scratch:{hub_models[1]}"], task, RecipeConfig(max_steps=5), max_length=32, bf16=False, device=CPU
    )
    chosen, test = TrainingSet("random", 1, 0, ["Good.", "Bad day."], [0, 1]), held_out(task, "test", 50)
    first = learner.predict(chosen, test, 0).tolist()
    monkeypatch.setattr(learner.learner, "padded_batches", lambda *_: pytest.fail("read again"))
    assert learner.predict(chosen, test, 0).tolist() == first


def test_the_network_from_scratch_reads_a_set_of_one_batch_once_and_others_batch_by_batch(task, hub_models):
    (learner,) = make_learners(
        [f"scratch:{hub_models[1]}"], task, RecipeConfig(), max_length=32, bf16=False, device=CPU
    )
    one, other = (learner.learner.padded_batch(["Good.", "Bad day."], labels) for labels in ([0, 1], [1, 0]))
    read = [(words, targets.tolist()) for words, targets in learner._prepared(iter([one, one, other]))]
    assert read[0][0] is read[1][0] and read[1][0] is not read[2][0]
    assert read[0][1] == read[1][1] != read[2][1]
