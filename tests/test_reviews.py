"""The reviews task: distinct, balanced, deterministic, fluent in form, and hard for few random texts."""

import random
import re
from statistics import mean

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from dilm import reviews
from dilm.errors import InputError

MIXED = re.compile(
    r"\b(but|yet|still|however|although|though|despite|spite|while|not|never|nothing|nobody|far from)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def splits():
    return reviews.splits()


def texts_of(examples):
    return [example["text"] for example in examples]


def labels_of(examples):
    return [example["label"] for example in examples]


@pytest.mark.parametrize("num_texts", [0, 1, 7, 500])
def test_generate_is_distinct_and_balanced(num_texts):
    examples = reviews.generate(num_texts, seed=3)
    assert len(examples) == len(set(texts_of(examples))) == num_texts
    positives = sum(labels_of(examples))
    assert abs(num_texts - 2 * positives) <= 1


def test_generate_follows_the_seed():
    first = reviews.generate(300, seed=1)
    assert first == reviews.generate(300, seed=1)
    assert len(set(texts_of(first)) & set(texts_of(reviews.generate(300, seed=2)))) < 30


def test_generate_refuses_a_negative_count():
    with pytest.raises(InputError, match="-1"):
        reviews.generate(-1)


def test_splits_are_disjoint_balanced_and_fixed(splits):
    assert [len(splits[name]) for name in ("train", "test")] == [4_000, 1_000]
    assert len(set(texts_of(splits["train"] + splits["test"]))) == 5_000
    assert sum(labels_of(splits["train"])) == 2_000
    assert sum(labels_of(splits["test"])) == 500
    assert splits == reviews.splits()


def test_lengths_and_vocabulary(splits):
    words = [re.findall(r"[a-z]+", text.lower()) for text in texts_of(splits["train"])]
    lengths = [len(text) for text in words]
    assert 12 <= mean(lengths) <= 17
    assert min(lengths) >= 4
    assert max(lengths) <= 40
    assert 550 <= len({word for text in words for word in text}) <= 900


def test_many_texts_hold_both_polarities(splits):
    assert 0.35 <= mean(bool(MIXED.search(text)) for text in texts_of(splits["train"])) <= 0.55


def test_texts_are_well_formed(splits):
    for text in texts_of(splits["train"]):
        assert re.fullmatch(r"[A-Z][A-Za-z ,.:!]*[.!]", text), text
        assert "  " not in text and not re.search(r"[.!] [a-z]|\bi\b", text), text
        for written, word in re.findall(r"\b(an?) (\w+)", text):
            assert written == reviews.article(word), text


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("elegant", "an"),
        ("awful", "an"),
        ("unfair", "an"),
        ("honest", "an"),
        ("hour", "an"),
        ("useless", "a"),
        ("useful", "a"),
        ("dull", "a"),
        ("handy", "a"),
    ],
)
def test_article_goes_by_sound(word, expected):
    assert reviews.article(word) == expected


def last_clause_label(clause):
    """The label that a clause shows by an entry of the tables, or None where it shows none or both."""
    found = set()
    for product in reviews.PRODUCTS:
        tables = [product.verdicts, *(aspect.phrases for aspect in product.aspects)]
        for table in [reviews.VERDICTS, reviews.TAILS, *tables]:
            found |= {label for label in (0, 1) for entry in table[label] if entry in clause}
    return found.pop() if len(found) == 1 else None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_clause_after_but_decides(seed):
    examples = [example for example in reviews.generate(2_000, seed) if ", but " in example["text"]]
    shown = [(last_clause_label(example["text"].split(", but ")[1]), example["label"]) for example in examples]
    assert len(shown) > 100
    assert mean(found is not None for found, _ in shown) > 0.9
    assert all(found == label for found, label in shown if found is not None)


def test_every_template_fills_for_both_labels():
    templates = [template for kind, _ in reviews.CONSTRUCTIONS for template in kind]
    for product in reviews.PRODUCTS:
        for label in (0, 1):
            for template in templates:
                text = reviews._Writer(random.Random(5), product, label).write(template)
                assert "{" not in text and text[0].isupper()


def test_few_random_texts_teach_much_less_than_all(splits):
    vectorizer = CountVectorizer().fit(texts_of(splits["train"]))
    test_features, test_labels = vectorizer.transform(texts_of(splits["test"])), labels_of(splits["test"])

    def accuracy(examples):
        model = LogisticRegression(max_iter=1000)
        model.fit(vectorizer.transform(texts_of(examples)), labels_of(examples))
        return model.score(test_features, test_labels)

    # The classes take turns in pairs, so that any 20 texts from an even place on are ten of each.
    few = mean(accuracy(splits["train"][start : start + 20]) for start in range(0, 400, 20))
    full = accuracy(splits["train"])
    assert 0.52 < few < 0.70
    assert full > 0.88
