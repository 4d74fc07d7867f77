"""The generator: control tokens, likelihood, sampling, saving."""

import warnings

import pytest
import torch
from conftest import tiny_gpt2
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, Cache, Lfm2Config, Lfm2ForCausalLM

from dilm import InputError
from dilm.models import batching, sampling
from dilm.models import generator as generator_module
from dilm.models.generator import Generator
from dilm.models.learner import Learner
from dilm.models.sampling import SamplingRules, nucleus_sample, sample_token_ids

TRICKY = ["a <sep> b", "<|endoftext|> and <bos_0>", "naïve café 😀 \u202eabc", "x\n\ny  z"]


def test_texts_that_spell_control_tokens_stay_text(generator):
    control = {*generator.class_ids, generator.sep_id, generator.eos_id}
    for ids, text in zip(generator.encode(TRICKY, [0, 1, 0, 1]), TRICKY, strict=True):
        assert not control & set(ids[1:-1])
        assert generator.tokenizer.decode(ids[1:-1]) == text


def test_groups_of_similar_length_have_the_losses_and_gradients_of_one_padded_batch(generator, texts, monkeypatch):
    encoded = generator.encode([*texts[:6], "short", "so short", "a"], [0, 1] * 4 + [0])
    weights, found, passes = torch.rand(len(encoded)), [], []
    padded_losses = generator._padded_losses
    monkeypatch.setattr(generator, "_padded_losses", lambda rows: passes.append(rows) or padded_losses(rows))
    for cost in (0, 10_000):
        monkeypatch.setattr(batching, "GROUP_COST", {"cpu": cost})
        passes.clear()
        sums, counts = generator.token_losses(encoded)
        assert (len(passes) == 1) == (cost > 0)
        assert counts.tolist() == [len(text) - 1 for text in encoded]
        generator.model.zero_grad()
        (weights @ sums).backward()
        found.append([sums.detach(), *(p.grad.clone() for p in generator.model.parameters())])
    for grouped, padded in zip(*found, strict=True):
        assert torch.allclose(grouped, padded, atol=1e-4)
    generator.model.zero_grad()


def test_a_pair_is_cut_on_its_longer_side(generator):
    (ids,) = generator.encode([("a b " * 60, "short one")], [1])
    assert len(ids) == generator.max_length and ids[0] == generator.class_ids[1] and ids[-1] == generator.eos_id
    assert generator.tokenizer.decode(ids[ids.index(generator.sep_id) + 1 : -1]) == "short one"


def test_nll_is_the_mean_over_own_tokens_whatever_the_padding(generator, texts):
    encoded = generator.encode(texts[:6], [0, 1] * 3)
    together = generator.nll(encoded)
    for ids, value in zip(encoded, together, strict=True):
        logits = generator.model(input_ids=torch.tensor([ids])).logits[0, :-1]
        steps = torch.log_softmax(logits, 1)[range(len(ids) - 1), ids[1:]]
        assert float(value.detach()) == pytest.approx(-float(steps.mean().detach()), rel=1e-4)
    assert torch.allclose(generator.score(texts[:6], [0, 1] * 3, batch_size=2), together.detach(), atol=1e-5)


def test_saved_folder_loads_with_plain_auto_classes(generator, texts, tmp_path):
    generator.save_pretrained(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_tokens_to_ids("<bos_1>") == generator.class_ids[1]
    assert model.get_output_embeddings().weight.shape[0] == len(tokenizer)
    again = Generator.from_pretrained(str(tmp_path), max_length=40)
    assert again.num_classes == 2
    labels = [0, 1, 1]
    assert torch.equal(again.score(texts[:3], labels), generator.score(texts[:3], labels))
    assert again.write(labels, seed=5) == generator.write(labels, seed=5)


def test_number_of_classes_is_needed_for_a_plain_model(hub_models):
    with pytest.raises(InputError, match="num_classes"):
        Generator.from_pretrained(hub_models[0])


def test_sampling_is_reproducible_from_its_seed_and_only_from_it(generator):
    labels = [0, 1] * 10
    first = generator.write(labels, seed=1)
    torch.manual_seed(99)
    assert generator.write(labels, seed=1) == first
    assert generator.write(labels, seed=2) != first


def test_fewer_texts_are_sampled_at_once_the_longer_they_may_be(generator, monkeypatch):
    sizes = []
    sample = generator_module.sample_token_ids
    monkeypatch.setattr(batching, "CACHED_TOKENS", {"cpu": 3 * generator.max_length + 1})
    monkeypatch.setattr(generator_module, "sample_token_ids", lambda *args: sizes.append(len(args[1])) or sample(*args))
    texts = generator.write([0, 1] * 4, seed=1)
    assert len(texts) == 8 and sizes[:3] == [3, 3, 2] and max(sizes) <= 3


def test_samples_hold_no_control_token_and_are_never_empty(generator):
    for pairs in (False, True):
        for text in generator.write([0, 1] * 30, pairs=pairs, seed=3):
            for part in (text if pairs else (text,)) if text is not None else ():
                assert part.strip() and "\ufffd" not in part
                assert not any(token in part for token in ("<bos_0>", "<bos_1>", "<sep>", "<|endoftext|>"))


def test_rejected_texts_are_written_again_within_a_bound(generator):
    tries = []
    generator._decode = lambda tokens, pairs: tries.append(1) and None
    assert generator.write([0, 1], seed=0, max_tries=3) == [None, None]
    assert len(tries) == 6


def test_unfinished_text_is_kept_only_by_the_last_try(generator):
    generator.max_length = 3  # hardly ever ends by itself
    assert sum(text is not None for text in generator.write([0] * 20, seed=0, max_tries=2)) > 0


@settings(max_examples=40)
@given(st.integers(2, 40), st.floats(0.05, 1.0), st.integers(0, 10**6), st.floats(0.1, 8))
def test_nucleus_is_exact(vocabulary, top_p, seed, sharpness):
    """Against the definition: the smallest set of likeliest tokens that holds top_p, sampled in proportion."""
    torch.manual_seed(seed)
    logits = sharpness * torch.randn(1, vocabulary, dtype=torch.float64)
    probabilities, order = torch.softmax(logits[0], 0).sort(descending=True)
    nucleus, held = [], 0.0
    for token, p in zip(order.tolist(), probabilities.tolist(), strict=True):
        if held >= top_p:
            break
        nucleus.append((token, p))
        held += p
    draws = 10_000
    drawn = nucleus_sample(logits.expand(draws, -1), top_p, torch.Generator().manual_seed(seed))
    counts = torch.bincount(drawn, minlength=vocabulary) / draws
    expected = torch.zeros(vocabulary, dtype=torch.float64)
    for token, p in nucleus:
        expected[token] = p / held
    assert counts[expected == 0].sum() == 0
    assert torch.allclose(counts.double(), expected, atol=0.025)  # five standard deviations


def test_a_small_nucleus_among_many_tokens_is_found():
    """Nearly every draw is outside of it."""
    logits = torch.zeros(500, 5000)
    logits[:, 17], logits[:, 4000] = 1.0, 0.5
    drawn = nucleus_sample(logits, 1e-4, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {17}


def test_a_flat_distribution_is_drawn_from_whole_and_banned_tokens_never():
    logits = torch.zeros(2000, 2048)
    logits[:, ::2] = -torch.inf
    drawn = nucleus_sample(logits, 1.0, torch.Generator().manual_seed(0))
    assert len(drawn.unique()) > 600 and bool((drawn % 2 == 1).all())


@pytest.fixture
def with_convolutions(tokenizer) -> Generator:
    """A hybrid, whose state is not keys and values alone."""
    torch.manual_seed(0)
    end, layers = int(tokenizer.eos_token_id), ["conv", "full_attention"]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    positions = {
        "max_position_embeddings": 64,
        "block_multiple_of": 16,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
    }
    tokens = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    config = Lfm2Config(
        vocab_size=len(tokenizer), layer_types=layers, num_hidden_layers=2, **sizes, **positions, **tokens
    )
    return Generator(Lfm2ForCausalLM(config), tokenizer, 2, max_length=40)


@pytest.mark.parametrize("kind", ["generator", "with_convolutions"])
def test_dropping_finished_rows_does_not_change_what_a_row_sees(kind, request, monkeypatch):
    """Each row's tokens have the probabilities of a pass without cache, also where every other row ends early."""
    generator, dropped, reorder, steps = request.getfixturevalue(kind), [], Cache.reorder_cache, []
    generator.model.eval()
    monkeypatch.setattr(Cache, "reorder_cache", lambda cache, rows: dropped.append(len(rows)) or reorder(cache, rows))

    def draw(logits, top_p, random):
        current = nucleus_sample(logits, top_p, random)
        steps.append(len(current))
        if len(steps) == 3:
            current[::2] = generator.eos_id
        return current

    monkeypatch.setattr(sampling, "nucleus_sample", draw)
    prompts = [generator.class_ids[i % 4 // 2] for i in range(24)]
    greedy = SamplingRules(generator.eos_id, None, (), 30, top_p=1e-6)
    rows = sample_token_ids(generator.model, torch.tensor(prompts), greedy, torch.Generator().manual_seed(0))
    assert dropped and all(len(tokens) <= 2 for tokens, _ in rows[::2]) and max(len(tokens) for tokens, _ in rows) > 3
    for prompt, (tokens, _) in zip(prompts, rows, strict=True):
        logits = generator.model(input_ids=torch.tensor([[prompt, *tokens]])).logits[0, :-1]
        logits[0, generator.eos_id] = -torch.inf
        assert logits.argmax(1).tolist() == tokens


def test_a_pair_has_one_separator_and_two_texts(generator):
    prompts = torch.tensor([generator.class_ids[0]] * 40)
    rules = SamplingRules(generator.eos_id, generator.sep_id, tuple(generator._never_sampled(True)), 39, 0.99)
    for tokens, finished in sample_token_ids(generator.model, prompts, rules, torch.Generator().manual_seed(1)):
        if finished:
            assert tokens.count(generator.sep_id) == 1 and tokens[0] != generator.sep_id != tokens[-1]


def test_offline_generator_is_made_from_the_texts(texts, tmp_path):
    generator = Generator.from_texts(texts, 3, max_length=32)
    assert generator.num_classes == 3 and len(set(generator.class_ids)) == 3
    ids = generator.encode(TRICKY, [0, 1, 2, 0])
    assert [generator.tokenizer.decode(row[1:-1]) for row in ids] == TRICKY
    assert generator.model.get_output_embeddings().weight is generator.model.get_input_embeddings().weight
    losses = generator.nll(ids)
    generator.save_pretrained(tmp_path)
    assert torch.allclose(Generator.from_pretrained(str(tmp_path), max_length=32).nll(ids), losses, atol=1e-5)


def test_texts_of_a_pair_come_back_without_a_space_that_they_do_not_have(texts, generator):
    for own in (generator, Generator.from_texts(texts, 2)):
        (ids,) = own.encode([("the book", "is good")], [1])
        assert own.texts_of(ids[1:-1]) == ["the book", "is good"]


def test_offline_generator_looks_back_only_and_its_tokens_begin_as_the_words_they_spell(texts):
    generator, encoder = Generator.from_texts(texts, 2), Learner.from_pretrained("offline", 2)
    row = torch.tensor([[generator.class_ids[0], *range(300, 310)]])
    other = row.clone()
    other[0, -1] = 400
    one, two = (generator.model(input_ids=ids).logits[0] for ids in (row, other))
    assert torch.allclose(one[:-1], two[:-1], atol=1e-5) and not torch.allclose(one[-1], two[-1], atol=1e-2)
    words, own = encoder.word_embeddings(), generator.model.get_input_embeddings().weight
    for token, pieces in (("\u0120the", ["the"]), ("\u0120book", ["book"]), ("ing", ["##ing"])):
        place = generator.tokenizer.convert_tokens_to_ids(token)
        expected = words[encoder.tokenizer.convert_tokens_to_ids(pieces)].mean(0)
        assert torch.allclose(own[place], expected), token


def test_a_tokenizer_without_end_token_is_refused(tokenizer):
    tokenizer.eos_token = tokenizer.sep_token = None
    with pytest.raises(InputError, match="end-of-text"):
        Generator(tiny_gpt2_for(tokenizer), tokenizer, 2)


def tiny_gpt2_for(tokenizer):
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=16, n_embd=8, n_layer=1, n_head=1))


def test_no_warning_while_writing(generator):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator.write([0, 1] * 4, seed=0)
    assert tiny_gpt2(generator.tokenizer).config.n_layer == 2


def test_texts_that_are_too_long_are_counted(generator):
    assert generator.cut_share(["It broke.", "It broke. " * 30]) == 0.5
    assert generator.tokens_at_once == 2048
