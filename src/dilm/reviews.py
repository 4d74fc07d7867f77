"""The embedded task `reviews`: English product reviews drawn from a seeded grammar.

Contract: `generate(num_texts, seed)` gives that many distinct texts as {"text", "label"} dicts, labels
indexing LABEL_NAMES, the classes differing by at most one, and the same list for the same arguments.
`splits()` gives the fixed "train" and "test" splits, which share no text.

A person can always tell the label, single words often cannot: under half of the texts carry words of both
polarities and are decided by a negation, by the clause after "but", or by the main clause of a concession.
"""

import random
import re
from collections import namedtuple
from typing import Any

from .errors import InputError

LABEL_NAMES = ("negative", "positive")
TRAIN_TEXTS, TEST_TEXTS, SPLIT_SEED = 4_000, 1_000, 2024

# One block per product. First line, noun: what the reviewer did with it | neutral openings.
# `whole`: adjectives for the product. `verdict`: full clauses.
# All others: "subject verb" | adjectives | verb phrases. A slash parts the negative from the positive ones.
PRODUCT_BLOCKS = """
film: watched | we saw it on a rainy Sunday, my sister took me to the cinema
whole | tedious, shallow, forgettable / gripping, moving, charming
verdict | I nearly fell asleep, I walked out halfway / I was glued to the screen, I left the cinema smiling
plot is | dull, predictable, muddled / clever, original, gripping | falls apart halfway / keeps you guessing
acting is | wooden, flat, lazy / superb, honest, touching | sinks every scene / lifts every scene
ending is | rushed, silly, weak / moving, bold, satisfying | makes no sense / ties everything together
jokes are | stale, crude, tired / sharp, fresh, witty | fall flat / land every time
music is | dreary, loud, bland / beautiful, haunting, subtle | drowns out the voices / stays with you for days
book: read | my book club picked it in May, I took it to the beach
whole | tedious, shallow, confusing / gripping, moving, wise
verdict | I gave up after fifty pages, I gave it away / I read it twice, I stayed up all night with it
story is | dull, predictable, slow / gripping, original, tender | goes nowhere / pulls you in from page one
characters are | flat, dull, silly / vivid, honest, charming | sound the same / feel like old friends
writing is | clumsy, bland, lazy / elegant, witty, sharp | gets in the way / sings on every page
ending is | rushed, weak, confusing / satisfying, bold, touching | ruins the mystery / took my breath away
chapters are | muddled, tedious, empty / lively, clear, subtle | drag on and on / fly by
phone: bought | I got it for my birthday, my old one broke in March
whole | slow, flimsy, overpriced / fast, reliable, sturdy
verdict | I sent it back, I went back to my old one / I use it all day long, I bought a second one for my wife
battery is | weak, unreliable, poor / powerful, reliable, excellent | dies before noon / lasts two full days
screen is | dim, dull, fragile / bright, sharp, sturdy | cracked in my pocket / looks great in the sun
camera is | slow, poor, blurry / sharp, quick, excellent | blurs every picture / takes lovely pictures
speaker is | tinny, weak, harsh / clear, rich, powerful | crackles all the time / fills the room
design is | ugly, clumsy, cheap / elegant, clever, sleek | feels ten years old / turns heads
restaurant: ate at | we went there for our anniversary, I had lunch there on Monday
whole | noisy, overpriced, dirty / cosy, charming, lively
verdict | I went home hungry, I was sick all night / I licked the plate clean, we booked again for Friday
food was | bland, cold, greasy / delicious, fresh, tasty | tasted of nothing / tasted like home
service was | rude, slow, careless / friendly, quick, warm | ruined the evening / made us feel welcome
desserts were | stale, dry, soggy / delicious, rich, light | came straight from a box / melted in the mouth
tables were | sticky, cramped, dirty / spotless, elegant, cosy | wobbled all evening / looked lovely
menu was | boring, confusing, overpriced / varied, original, clever | offered nothing new / suited everyone
hotel: stayed at | we spent our honeymoon there, my firm booked it for me
whole | shabby, noisy, gloomy / cosy, peaceful, elegant
verdict | I checked out early, I asked for my money back / I slept like a baby, I did not want to go home
rooms were | dirty, cramped, cold / spotless, spacious, warm | smelled of smoke / felt like home
staff were | rude, careless, unhelpful / friendly, helpful, polite | ignored us / remembered our names
bed was | hard, lumpy, narrow / soft, cosy, comfortable | hurt my back / gave me the best sleep in years
breakfast was | stale, cold, bland / fresh, tasty, generous | ran out by eight / was the best part of the day
pool was | dirty, cold, crowded / warm, spotless, peaceful | was closed all week / kept the children happy
headset: bought | I ordered it for the office, my son wanted it for his games
whole | flimsy, uncomfortable, overpriced / comfortable, reliable, sturdy
verdict | I threw it in a drawer, I sent it back / I wear it every day, I forget that I have it on
sound is | tinny, flat, harsh / rich, clear, powerful | buzzes at high volume / brings every song to life
fit is | tight, clumsy, painful / snug, comfortable, light | hurt my ears / stays put on a run
microphone is | weak, noisy, poor / clear, sensitive, excellent | cuts out on calls / picks up every word
cable is | short, fragile, cheap / long, sturdy, strong | snapped in a week / never tangles
controls are | confusing, stiff, clumsy / simple, smooth, clever | stick all the time / work at a touch
game: played | my cousin lent it to me, we tried it at a party
whole | repetitive, boring, unfair / addictive, clever, exciting
verdict | I gave up after an hour, I fell asleep at the keyboard / I played all night, I finished it twice
graphics are | ugly, dated, blurry / beautiful, vivid, sharp | look ten years old / took my breath away
levels are | repetitive, dull, unfair / varied, clever, exciting | drag on and on / get better and better
controls are | clumsy, stiff, slow / smooth, simple, quick | fight you all the way / respond at a touch
story is | silly, thin, predictable / gripping, original, witty | goes nowhere / pulls you in
enemies are | stupid, boring, weak / cunning, scary, original | get stuck in walls / keep you on your toes
app: used | a colleague showed it to me, I installed it on the train
whole | slow, confusing, useless / simple, handy, reliable
verdict | I deleted it in a day, I asked for my money back / I open it every morning, I need it at work
layout is | ugly, messy, confusing / clear, elegant, simple | hides every button / puts everything in reach
search is | slow, useless, unreliable / quick, clever, accurate | finds nothing / finds everything
updates are | useless, annoying, careless / useful, smooth, thoughtful | slow my phone down / fix every bug
support is | rude, slow, unhelpful / friendly, quick, helpful | ignored my messages / answered within an hour
alerts are | annoying, late, pointless / useful, handy, accurate | wake me at night / save me time
vacuum: bought | I ordered it for the new flat, we have two dogs at home
whole | noisy, heavy, flimsy / quiet, sturdy, handy
verdict | I went back to my broom, I threw it out / I enjoy cleaning now, I got my mother one
suction is | weak, poor, unreliable / strong, powerful, excellent | leaves crumbs behind / lifts every crumb
motor is | loud, weak, noisy / quiet, powerful, reliable | smells of smoke / runs like new
filter is | flimsy, messy, useless / simple, handy, effective | clogs every day / traps all the dust
brushes are | stiff, cheap, useless / soft, effective, strong | scratch the floor / reach every corner
handle is | heavy, clumsy, uncomfortable / light, comfortable, sturdy | came off in my hand / fits my hand
jacket: bought | I packed it for a week in the hills, my wife chose it for me
whole | flimsy, shapeless, uncomfortable / warm, elegant, comfortable
verdict | I gave it to charity, I shivered all winter / I wear it every day, I got compliments all winter
fabric is | thin, rough, cheap / soft, warm, strong | tore within a week / keeps out the wind
zip is | stiff, flimsy, unreliable / smooth, sturdy, strong | jams every time / works like a dream
pockets are | tiny, shallow, useless / deep, handy, generous | tore in a week / hold everything
colours are | dull, ugly, dreary / vivid, beautiful, elegant | fade in the sun / look lovely outdoors
cut is | tight, clumsy, shapeless / flattering, comfortable, sleek | makes me look old / suits everyone
"""


def _cells(table: str) -> list[str]:
    """The entries of a table, parted by bars and line ends."""
    return [cell for line in table.strip().splitlines() for cell in line.split(" | ")]


def _by_label(cell: str) -> tuple[list[str], list[str]]:
    negative, positive = cell.strip().split(" / ")
    return negative.split(", "), positive.split(", ")


# Verdicts, adjectives, endings and other words that fit every product.
VERDICTS = _by_label(
    "it let me down, I hated it, I felt cheated, it was a waste of money, I regret it"
    " / it won me over, I loved it, I was thrilled, it was worth every penny, it made me smile"
)
TAILS = _by_label(
    "that ruined it for me, that was a shame, I was bitterly disappointed"
    " / that saved it for me, that was a joy, I was pleasantly surprised"
)
ADJECTIVES = _by_label(
    "awful, terrible, disappointing, dreadful, bad / wonderful, fantastic, impressive, brilliant, good"
)
CLOSERS = _by_label(
    "Avoid it., What a letdown., A real shame., I am really annoyed., I will stay away!, One star from me."
    " / Do try it., What a treat., A real joy., I am really happy., Highly recommended!, Five stars from me."
)
WORDS = {
    "when": ["last week", "last month", "in May", "over the holidays", "on a whim", "by chance"],
    "who": ["my sister", "my brother", "a friend", "my neighbour", "a critic", "my boss"],
    "deny": ["not at all", "never", "far from", "anything but", "not in the least"],
}
LABEL_WORDS = {"love": ("hate", "love"), "better": ("worse", "better"), "impress": ("disappoint", "impress")}
LABEL_WORDS["advise"] = ("would tell anyone to avoid", "would tell anyone to try")
INTENSIFIERS = ("", "", "", "really", "so", "truly", "surprisingly")
# How often a clause is a verb phrase, words are the product's or the aspect's own, and a closer follows.
PHRASE_SHARE, OWN_SHARE, OWN_ADJECTIVE_SHARE, CLOSER_SHARE = 0.3, 0.4, 0.75, 0.45

# Slots: {clause} and {verdict} hold the label, {denial} does by negation; {not_...} is the other polarity.
PLAIN = _cells("""
{clause}. | {clause} and {clause}. | {clause}, {clause}, and {verdict}.
I {did} this {name} {when}. {clause} and {clause}, so {verdict}. | {verdict} because {clause}.
{verdict}: {clause} and {clause}. | {scene}, and {verdict}. | {scene}. {clause}, and {verdict}.
{scene}, and I must say that it is a {whole} {name}.
I {did} this {whole} {name} {when}, and {verdict}. | I {did} this {name} {when}. {clause} and {clause}.
What a {whole} {name}: {clause}! | This is a {whole} {name}, and {clause}.
This {name} is far {better} than the last one I {did}: {clause}.
Compared with the last {name} I {did}, {clause}. | I {advise} this {name}, because {clause}.
As {who} said, {clause} and {clause}.
""")
NEGATION = _cells("""
{denial}. | {denial} and {clause}. | {denial}, and {verdict}. | {scene}, and {denial}.
I {did} this {name} {when}, and {denial}.
There is nothing {not_adj} about the {aspect}, and {verdict}.
There is nothing {not_whole} about this {name}, and {denial}.
Nobody could call this a {not_whole} {name}: {clause}.
This {name} never fails to {impress}, and {denial}.
{who} said that {not_clause}, and that is simply wrong: {verdict}.
I do not agree with those who say that {not_clause}: {verdict}.
Not once did I feel that {not_clause}, and {verdict}.
""")
CONTRAST = _cells("""
{not_clause}, but {verdict}. | {not_clause}, but {clause}, and {tail}.
{not_clause} and {not_clause}, but {verdict}. | {not_clause}, yet {clause}, and {tail}.
{not_clause}. Still, {verdict}. | {not_clause}. However, {clause}, and {tail}.
I was ready to {not_love} this {name}, but {verdict}.
I expected a {not_whole} {name} but got a {whole} one.
{who} spoke of a {not_whole} {name}, but {clause} and {verdict}. | {scene}. {not_clause}, but {verdict}.
I {did} this {name} {when}. {not_clause} and {not_clause}, but {clause}, and {tail}.
""")
CONCESSION = _cells("""
Despite the {not_adj} {aspect}, {verdict}. | In spite of the {not_adj} {aspect}, {clause}, and {tail}.
Although {not_clause}, {verdict}. | Even though {not_clause} and {not_clause}, {verdict}.
{verdict}, even though {not_clause}. | {verdict} despite the {not_adj} {aspect}.
While {not_clause}, {clause}, and {tail}.
I {did} this {name} {when}, and although {not_clause}, {verdict}.
""")
CONSTRUCTIONS = ((PLAIN, 0.55), (NEGATION, 0.17), (CONTRAST, 0.16), (CONCESSION, 0.12))


# Adjectives, phrases, wholes and verdicts are (negative, positive) pairs of lists; words is {"name", "did"}.
Aspect = namedtuple("Aspect", "noun verb adjectives phrases")
Product = namedtuple("Product", "words scenes wholes verdicts aspects")


def _parse(block: str) -> Product:
    (head, scenes), *rows = [line.split(" | ") for line in block.splitlines()]
    name, did = head.split(": ")
    cells = {row[0]: row[1:] for row in rows}
    whole, verdict = (_by_label(cells.pop(key)[0]) for key in ("whole", "verdict"))
    aspects = [Aspect(*key.split(), *map(_by_label, pair)) for key, pair in cells.items()]
    return Product({"name": name, "did": did}, scenes.split(", "), whole, verdict, aspects)


PRODUCTS = [_parse(block) for block in re.split(r"\n(?=\w+: )", PRODUCT_BLOCKS.strip())]


class _Writer:
    """Fills one template's slots for one product and label, and never uses an entry twice in a text."""

    def __init__(self, rng: random.Random, product: Product, label: int):
        self.rng, self.product, self.label = rng, product, label
        self.used = []
        self.aspect = product.aspects[0]

    def write(self, template: str) -> str:
        return _polish(re.sub(r"\{(\w+)\}", lambda match: self._fill(match[1]), template))

    def _fill(self, slot: str) -> str:
        kind = slot.removeprefix("not_")
        label = self.label if kind == slot else 1 - self.label
        match kind:
            case "clause":
                return self._clause(label)
            case "denial":
                adjective = self._adjective(1 - label)
                return f"the {self.aspect.noun} {self.aspect.verb} {self._pick(WORDS['deny'])} {adjective}"
            case "adj":
                return self._adjective(label)
            case "aspect":
                return self.aspect.noun
            case "verdict":
                return self._pick_or(self.product.verdicts, VERDICTS, label, OWN_SHARE)
            case "whole":
                return self._pick_or(self.product.wholes, ADJECTIVES, label, OWN_SHARE)
            case "tail":
                return self._pick(TAILS[label])
            case "scene":
                return self._pick(self.product.scenes)
        if kind in LABEL_WORDS:
            return LABEL_WORDS[kind][label]
        return self._pick(WORDS[kind]) if kind in WORDS else self.product.words[kind]

    def _clause(self, label: int) -> str:
        adjective = self._adjective(label)
        aspect = self.aspect
        if self.rng.random() < PHRASE_SHARE:
            return f"the {aspect.noun} {self._pick(aspect.phrases[label])}"
        return f"the {aspect.noun} {aspect.verb} {self.rng.choice(INTENSIFIERS)} {adjective}"

    def _adjective(self, label: int) -> str:
        """An adjective for a fresh aspect, which a following {aspect} names."""
        self.aspect = self._pick(self.product.aspects)
        return self._pick_or(self.aspect.adjectives, ADJECTIVES, label, OWN_ADJECTIVE_SHARE)

    def _pick_or(self, own: tuple, shared: tuple, label: int, own_share: float) -> str:
        return self._pick((own if self.rng.random() < own_share else shared)[label])

    def _pick(self, options: list) -> Any:
        choice = self.rng.choice([option for option in options if option not in self.used])
        self.used.append(choice)
        return choice


def _polish(text: str) -> str:
    """Single spaces, "an" before a vowel sound, a capital at the start of each sentence."""
    text = re.sub(r" +", " ", text)
    text = re.sub(r"\b(an?) (?=(\w+))", lambda match: f"{article(match[2])} ", text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda match: match[1] + match[2].upper(), text)


def article(word: str) -> str:
    """The article that fits the sound of the word's start."""
    if word.startswith(("use", "uni", "one")):
        return "a"
    return "an" if word[0].lower() in "aeiou" or word.startswith(("hour", "honest")) else "a"


def _text(rng: random.Random, label: int) -> str:
    (templates,) = rng.choices([kind for kind, _ in CONSTRUCTIONS], [share for _, share in CONSTRUCTIONS])
    text = _Writer(rng, rng.choice(PRODUCTS), label).write(rng.choice(templates))
    return f"{text} {rng.choice(CLOSERS[label])}" if rng.random() < CLOSER_SHARE else text


def generate(num_texts: int, seed: int = 0) -> list[dict]:
    """`num_texts` distinct texts; every even prefix is balanced, so that slices of it are too."""
    if num_texts < 0:
        raise InputError(f"num_texts is {num_texts}, expected zero or more")
    rng = random.Random(seed)
    seen: set[str] = set()
    examples = []
    while len(examples) < num_texts:
        for label in rng.sample((0, 1), 2):
            while (text := _text(rng, label)) in seen:
                pass
            seen.add(text)
            examples.append({"text": text, "label": label})
    return examples[:num_texts]


def splits() -> dict[str, list[dict]]:
    """The fixed "train" and "test" splits."""
    examples = generate(TRAIN_TEXTS + TEST_TEXTS, SPLIT_SEED)
    return {"train": examples[:TRAIN_TEXTS], "test": examples[TRAIN_TEXTS:]}
