"""The learner: any architecture, its head found by structure; features, fresh heads, training."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_bert
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertForMaskedLM,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from dilm import InputError
from dilm.config import OptimizationConfig, RecipeConfig
from dilm.evaluation.fine_tuning import FineTuning
from dilm.evaluation.training_sets import TrainingSet
from dilm.models import batching, feature_cache
from dilm.models.compact_embedding import compact_embedding
from dilm.models.feature_cache import pretrained_features
from dilm.models.learner import Learner
from dilm.training.learners import real_gradient

COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "num_labels": 3}
ARCHITECTURES = {
    "bert": (BertForSequenceClassification, lambda v: tiny_bert(v, num_labels=3), True),
    "roberta": (
        RobertaForSequenceClassification,
        lambda v: RobertaConfig(vocab_size=v, max_position_embeddings=80, pad_token_id=0, **COMMON),
        False,
    ),
    "electra": (
        ElectraForSequenceClassification,
        lambda v: ElectraConfig(vocab_size=v, embedding_size=32, **COMMON),
        False,
    ),
    "deberta-v2": (
        DebertaV2ForSequenceClassification,
        lambda v: DebertaV2Config(vocab_size=v, pooler_hidden_size=32, **COMMON),
        False,
    ),
    "distilbert": (
        DistilBertForSequenceClassification,
        lambda v: DistilBertConfig(vocab_size=v, dim=32, n_layers=2, n_heads=2, hidden_dim=64, num_labels=3),
        False,
    ),
    "xlnet": (
        XLNetForSequenceClassification,
        lambda v: XLNetConfig(vocab_size=v, d_model=32, n_layer=2, n_head=2, d_inner=64, num_labels=3),
        False,
    ),
}


@pytest.fixture(params=ARCHITECTURES)
def any_learner(request, tokenizer):
    torch.manual_seed(0)
    model_class, config, linear = ARCHITECTURES[request.param]
    if request.param == "xlnet":  # as its own tokenizer does: it reads a text's class off the last token
        tokenizer.padding_side = "left"
    learner = Learner(model_class(config(len(tokenizer))), tokenizer, max_length=48)
    assert learner.has_linear_head == linear
    return learner


def test_head_inputs_make_the_logits(any_learner, texts):
    view = any_learner.head_view(texts[:7], batch_size=3)
    layer = any_learner.output_layer
    assert view.inputs.shape == (7, layer.in_features) and view.logits.shape == (7, 3)
    assert torch.allclose(layer(view.inputs), view.logits, atol=1e-5)
    one_by_one = torch.cat([any_learner.head_view([text]).logits for text in texts[:7]])
    assert torch.allclose(one_by_one, view.logits, atol=1e-4)


def test_head_gradient_equals_autograd(any_learner, texts):
    ours = real_gradient(any_learner, texts[:70], 2, "head")
    parameters = any_learner.head_parameters()
    batch = any_learner.collate(any_learner.encode(texts[:70]))
    loss = torch.nn.functional.cross_entropy(any_learner.model(**batch).logits, torch.full((70,), 2))
    slow = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    slow = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters.values(), slow, strict=True)]
    if any_learner.has_linear_head:
        assert torch.allclose(ours, torch.cat([slow[0], slow[1][:, None]], 1), atol=1e-5)
    else:
        assert torch.allclose(ours, torch.cat([g.flatten() for g in slow]), atol=1e-5)


def test_head_gradient_in_bfloat16_is_close(any_learner, texts):
    exact = real_gradient(any_learner, texts[:20], 2, "head")
    any_learner.bf16 = True
    rounded = real_gradient(any_learner, texts[:20], 2, "head")
    assert rounded.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.99


def test_reinitialize_brings_back_the_encoder_with_a_fresh_head(any_learner, texts):
    before = any_learner.features(texts[:4])
    any_learner.reinitialize(1)
    head = any_learner.output_layer.weight.detach().clone()
    batches = itertools.repeat(any_learner.batch(texts[:4], [0, 1, 2, 0]))
    losses = list(any_learner.train(batches, OptimizationConfig(max_steps=3, learning_rate=1e-2), seed=0))
    assert len(losses) == 3 and not np.allclose(any_learner.features(texts[:4]), before, atol=1e-3)
    any_learner.reinitialize(1)
    assert torch.equal(any_learner.output_layer.weight, head)
    assert np.allclose(any_learner.features(texts[:4]), before, atol=1e-6)
    any_learner.reinitialize(2)
    assert not torch.equal(any_learner.output_layer.weight, head)


def test_features_are_the_mean_over_own_tokens_of_unit_length(learner, texts):
    features = learner.features(texts[:5], batch_size=2)
    ids = learner.encode(texts[:1])[0]
    hidden = learner.encoder(**{k: torch.tensor([v]) for k, v in ids.items()})[0][0].detach().mean(0)
    assert np.allclose(features[0], (hidden / hidden.norm()).numpy(), atol=1e-5)
    assert features.dtype == np.float32 and np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_features_after_a_share_of_the_layers(any_learner, texts):
    encoded = any_learner.encode(texts[:1])[0]
    batch = {key: torch.tensor([value]) for key, value in encoded.items()}
    layers = any_learner.encoder(**batch, output_hidden_states=True).hidden_states
    for depth, layer in ((1.0, 2), (0.67, 1), (0.5, 1), (0.1, 0)):
        hidden = layers[layer][0].detach().mean(0)
        features = any_learner.features(texts[:5], batch_size=2, depth=depth)
        assert np.allclose(features[0], (hidden / hidden.norm()).numpy(), atol=1e-5), depth


def test_an_encoder_that_does_not_show_its_layers_is_refused(learner, texts, monkeypatch):
    forward = learner.encoder.forward
    monkeypatch.setattr(learner.encoder, "forward", lambda output_hidden_states=False, **inputs: forward(**inputs))
    assert len(learner.features(texts[:3])) == 3
    with pytest.raises(InputError, match="at 1"):
        learner.features(texts[:3], depth=0.5)


def test_texts_are_read_in_batches_of_bounded_tokens_however_long_they_are(learner, monkeypatch):
    texts = ["short", "a much longer text " * 8, "another long text " * 9, "short too", "of middle length " * 3]
    whole, sizes = learner.features(texts), []
    monkeypatch.setattr(batching, "TOKENS_AT_ONCE", {"cpu": 40})
    collate = learner.collate
    monkeypatch.setattr(learner, "collate", lambda part: sizes.append((len(part), batch := collate(part))) or batch)
    assert np.allclose(learner.features(texts), whole, atol=1e-5)
    assert sum(count for count, _ in sizes) == len(texts) and len(sizes) > 2
    assert all(count == 1 or batch["input_ids"].numel() <= 40 for count, batch in sizes)


def test_training_is_reproducible_and_leaves_global_random_state_alone(learner, texts):
    def train(seed):
        learner.reinitialize(0)
        state = torch.get_rng_state()
        batches = itertools.repeat(learner.batch(texts[:6], [0, 1] * 3))
        losses = list(learner.train(batches, OptimizationConfig(max_steps=4), seed=seed))
        assert torch.equal(torch.get_rng_state(), state)
        return losses

    first = train(1)
    torch.manual_seed(123)
    assert train(1) == first
    assert train(2) != first


def test_training_lowers_the_loss(learner, texts):
    steps = OptimizationConfig(max_steps=60, learning_rate=3e-3)
    losses = list(learner.train(itertools.repeat(learner.batch(texts[:6], [0, 1] * 3)), steps, seed=0))
    assert losses[-1] < 0.5 * losses[0]
    assert (learner.predict(texts[:6]).argmax(1) == [0, 1] * 3).all()


def test_pairs_and_control_tokens_are_read_as_text(learner):
    encoded = learner.encode([("first <|endoftext|>", "second [SEP]"), ("a", "b")])
    assert learner.tokenizer.eos_token_id not in encoded[0]["input_ids"]
    long = learner.encode(["word " * 500])
    assert len(long[0]["input_ids"]) == learner.max_length


def test_unknown_model_is_a_readable_error():
    with pytest.raises(InputError, match="could not be loaded"):
        Learner.from_pretrained("no-such/model", 2)


def test_offline_learner_loads_by_path_and_name(hub_models):
    learner = Learner.from_pretrained(hub_models[1], 4, max_length=32)
    assert learner.num_classes == 4 and learner.has_linear_head


def without_dropout(learner):
    for module in learner.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return learner


def test_groups_of_similar_length_train_as_one_batch_does(learner, texts, monkeypatch):
    chosen, labels = [*texts[:5], "short", "short too"], [0, 1, 0, 1, 0, 1, 0]
    steps = OptimizationConfig(max_steps=5, learning_rate=1e-3)
    found = []
    for cost in (0, 10_000):
        monkeypatch.setattr(batching, "GROUP_COST", {"cpu": cost})
        without_dropout(learner).reinitialize(0)
        batch = learner.padded_batch(chosen, labels)
        assert (len(batch) == 1) == (cost > 0)
        list(learner.train(itertools.repeat(batch), steps, seed=0))
        found.append(learner.predict(chosen))
    assert np.allclose(*found, atol=1e-4)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(0, 40))
def test_length_groups_are_the_cheapest(lengths, cost):
    def price(groups):
        return sum(max(lengths[i] for i in group) * len(group) + cost for group in groups)

    groups = batching.length_groups(lengths, cost, 10**9)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cuts = itertools.product([False, True], repeat=len(order) - 1)
    everything = ([g for g in _cut(order, chosen)] for chosen in cuts)
    assert price(groups) == min(map(price, everything))


def _cut(order, chosen):
    group = [order[0]]
    for place, cut in zip(order[1:], chosen, strict=True):
        if cut:
            yield group
            group = []
        group.append(place)
    yield group


def test_compact_embedding_trains_as_the_whole_one_does(any_learner, texts):
    labels, steps = [0, 1, 2, 0], OptimizationConfig(max_steps=6, learning_rate=1e-2, weight_decay=0.3)
    embeddings = any_learner.model.get_input_embeddings()
    found = []
    for compact in (False, True):
        any_learner.reinitialize(0)
        encoded = any_learner.encode(texts[:4])
        padding = any_learner.model.config.pad_token_id
        ids = torch.tensor([i for text in encoded for i in text["input_ids"]] + [padding])
        batches = itertools.repeat(any_learner.batch(encoded, labels))
        if compact:
            with compact_embedding(any_learner.model, ids) as decay:
                assert any_learner.model.get_input_embeddings().weight.shape[0] < embeddings.weight.shape[0]
                list(any_learner.train(batches, steps, seed=0, after_step=decay.after_step))
        else:
            list(any_learner.train(batches, steps, seed=0))
        assert any_learner.model.get_input_embeddings() is embeddings
        found.append({name: value.clone() for name, value in any_learner.model.state_dict().items()})
    for name, value in found[0].items():
        assert torch.allclose(value.float(), found[1][name].float(), atol=1e-4), name


def test_word_embeddings_are_the_pretrained_ones(learner, texts):
    before = learner.model.get_input_embeddings().weight.detach().clone()
    list(learner.train(itertools.repeat(learner.batch(texts[:2], [0, 1])), OptimizationConfig(max_steps=1), seed=0))
    assert torch.equal(learner.word_embeddings(), before)


def test_features_are_cached_by_content_and_the_cache_is_bounded(learner, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("DILM_CACHE", str(tmp_path))
    first = pretrained_features(learner, texts[:6])
    list(learner.train(itertools.repeat(learner.batch(texts[:2], [0, 1])), OptimizationConfig(max_steps=2), seed=0))
    monkeypatch.setattr(learner, "features", lambda texts: pytest.fail("computed again"))
    assert np.array_equal(pretrained_features(learner, texts[:6]), first)  # trained or not, from the cache
    monkeypatch.undo()
    monkeypatch.setenv("DILM_CACHE", str(tmp_path))
    assert not np.array_equal(pretrained_features(learner, texts[1:7]), first)
    middle = pretrained_features(learner, texts[:6], depth=0.5)
    assert np.array_equal(middle, learner.features(texts[:6], depth=0.5)) and not np.array_equal(middle, first)
    assert np.array_equal(pretrained_features(learner, texts[:6]), first)
    learner.max_length = 5
    del learner.fingerprint  # another length is another content
    assert not np.array_equal(pretrained_features(learner, texts[:6]), first)
    files = list((tmp_path / "features").iterdir())
    assert len(files) == 4 and all(file.suffix == ".npy" for file in files)
    files[0].write_bytes(b"damaged")
    for start in range(8):
        monkeypatch.setattr(feature_cache, "MAX_BYTES", 2000)
        assert len(pretrained_features(learner, texts[start : start + 4])) == 4
    assert sum(file.stat().st_size for file in (tmp_path / "features").iterdir()) <= 2000


class Trap:
    """What unpickling it does, shows."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_in_the_cache_is_not_read(learner, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("DILM_CACHE", str(tmp_path))
    first = pretrained_features(learner, texts[:3])
    (file,) = (tmp_path / "features").iterdir()
    np.save(file, np.array([Trap(tmp_path / "sprung")], dtype=object), allow_pickle=True)
    assert np.array_equal(pretrained_features(learner, texts[:3]), first)
    assert not (tmp_path / "sprung").exists()
    np.load(file, allow_pickle=False)  # what was computed anew has taken its place


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(learner, texts, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("DILM_CACHE", str(tmp_path / "file"))
    assert pretrained_features(learner, texts[:3]).shape == (3, 32)


def test_the_fingerprint_is_that_of_the_learner_as_it_was_loaded(learner):
    """A fast tokenizer remembers how it was last asked to cut and to pad."""
    before = learner.fingerprint
    learner.collate(learner.encode(["a text", "another, longer text"]))
    del learner.fingerprint
    assert learner.fingerprint == before


def test_no_texts_are_no_texts(learner):
    assert learner.encode([]) == []


def test_a_pooler_that_a_checkpoint_lacks_is_fresh_with_every_head(tokenizer, tmp_path):
    BertForMaskedLM(tiny_bert(len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    one, two = (Learner.from_pretrained(str(tmp_path), 2, max_length=48, seed=seed) for seed in (0, 1))
    assert one.fingerprint == two.fingerprint, "what is drawn is not what was learned before"

    def pooler(seed):
        one.reinitialize(seed)
        return one.model.bert.pooler.dense.weight.clone()

    assert torch.equal(pooler(3), pooler(3)) and not torch.equal(pooler(3), pooler(4))


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_padding_is_what_the_model_takes_for_it_whatever_the_tokenizer_pads_with(kind, tokenizer, texts):
    """A decoder reads the last token that is no padding; its tokenizer may know no padding, or another."""
    torch.manual_seed(0)
    padding = len(tokenizer) - 1
    if kind == "decoder":
        sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = LlamaConfig(vocab_size=len(tokenizer), num_labels=2, pad_token_id=padding, **sizes)
        model = LlamaForSequenceClassification(config)
        tokenizer.pad_token = None
    else:
        sizes = {"dim": 32, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}
        config = DistilBertConfig(vocab_size=len(tokenizer), num_labels=2, pad_token_id=padding, **sizes)
        model = DistilBertForSequenceClassification(config)
    learner = Learner(model, tokenizer, max_length=48)
    assert learner.tokenizer.pad_token_id != model.config.pad_token_id
    short, long = sorted(texts[:9], key=len)[::8]
    together, alone = learner.predict([short, long])[0], learner.predict([short])[0]
    assert together == pytest.approx(alone, abs=1e-4)
    fine_tuned = FineTuning("finetune:tiny", learner, RecipeConfig(max_steps=2))
    fine_tuned.fit(TrainingSet("random", 1, 0, [short, long], [0, 1]), seed=0)
    before = learner.fingerprint
    del learner.fingerprint
    learner.tokenizer.pad_token_id = padding
    assert learner.fingerprint != before


def test_an_encoder_without_word_embeddings_keeps_what_it_has(learner, monkeypatch):
    def none(self):
        raise NotImplementedError("`get_input_embeddings` not auto-handled")

    monkeypatch.setattr(type(learner.model), "get_input_embeddings", none)
    with compact_embedding(learner.model, torch.tensor([1, 2])) as decay:
        assert decay.factor == 1


def test_a_model_that_is_given_no_mask_is_given_none(tokenizer, texts):
    """FNet reads padding like anything else, and its tokenizer tells no mask."""
    tokenizer.model_input_names = ["input_ids", "token_type_ids"]
    learner = Learner(BertForSequenceClassification(tiny_bert(len(tokenizer))), tokenizer, max_length=48)
    assert learner.predict(texts[:3]).shape == (3, 2)
    with pytest.raises(InputError, match="gives no features of the tokens of a text"):
        learner.check_features(texts[:2])


def test_a_model_that_makes_nothing_of_a_text_alone_is_told_in_words(tokenizer):
    sizes = {"d_model": 32, "d_ff": 32, "d_kv": 16, "num_layers": 1, "num_heads": 2}
    model = T5ForSequenceClassification(T5Config(vocab_size=len(tokenizer), num_labels=2, **sizes))
    learner = Learner(model, tokenizer, max_length=48)
    with pytest.raises(InputError, match="T5ForSequenceClassification gives no features of the tokens of a text"):
        learner.check_features(["a text", "another one"])
