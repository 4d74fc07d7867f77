"""Distil a csv of support tickets: five queues, ten texts each, that train a router of tickets.

    python examples/support_tickets.py            # some minutes on 2 cores
    python examples/support_tickets.py --small    # seconds, to see that everything is in place

The csv is made here by a seeded grammar, so that the example needs no data; put your own file in its place.
"""

import argparse
import csv
import random
from pathlib import Path

import dilm

SMALL = Path(__file__).with_name("small.yaml")
ITEMS = ("the kettle", "the desk lamp", "the coffee grinder", "my new toaster", "the radio", "the heated blanket")
WHEN = ("on Monday", "last week", "yesterday", "two weeks ago", "this morning", "in March")
GREETINGS = ("Hi,", "Hello,", "Dear team,", "Good morning,", "To whom it may concern,", "")
CLOSINGS = ("Thanks.", "Kind regards.", "This is the second time I write.", "I look forward to your answer.", "")
# What people mention beside their question, in the words of the other queues.
ASIDES = """
the invoice was right this time | my card worked at once | the courier was friendly | the parcel came quickly | the
return label worked last time | the colour is lovely | I like my new account page | the app is easy to use | the
password mail came at once | the repair service was quick last year | I ordered {item} {when}
"""
# Per queue: what went wrong, then what the customer asks for.
QUEUE_LINES = {
    "billing": """
        I was charged twice for {item} | the invoice for {item} shows the wrong amount | my card was declined {when} |
        the discount is missing from my bill | you still took the monthly fee {when}
        /
        please correct the invoice | please refund the difference | can I pay by bank transfer instead?
    """,
    "delivery": """
        {item} should have arrived {when} | the courier left {item} with a stranger | the last news of my parcel came
        {when} | the parcel with {item} went to my old street | only half of my order came {when}
        /
        where is my parcel? | please send it again | when will the driver come?
    """,
    "returns": """
        {item} does not suit my kitchen | I changed my mind about {item} | {item} came in the wrong colour {when} | I
        would like to exchange {item} for a larger one | I lost the label for sending {item} back
        /
        how do I send it back? | please send me a return label | can I swap it in your shop?
    """,
    "account": """
        I cannot log in, though I could {when} | the password mail never arrives | my account was locked {when} | I
        moved house and the form rejects my address | somebody signed up with my mail address {when}
        /
        please reset my password | please delete my account | please change the address on file
    """,
    "technical": """
        {item} stopped working {when} | {item} makes a strange noise | the app crashes when I open my orders | {item}
        does not switch on any more | the manual of {item} skips the setup
        /
        is there a repair service? | how do I reset it? | does the warranty cover this?
    """,
}


def parts(lines: str) -> list[str]:
    """The parts of a text between bars."""
    return [" ".join(part.split()) for part in lines.split("|")]


QUEUES = {queue: [parts(side) for side in lines.split("/")] for queue, lines in QUEUE_LINES.items()}


def tickets(count: int, seed: int = 0) -> list[dict[str, str]]:
    """`count` different tickets {"message", "queue"}, the queues taking turns."""
    rng, rows, seen = random.Random(seed), [], set()
    while len(rows) < count:
        queue = list(QUEUES)[len(rows) % len(QUEUES)]
        problems, wishes = QUEUES[queue]
        sentences = [*rng.sample(parts(ASIDES), rng.randrange(3)), rng.choice(problems), rng.choice(wishes)]
        sentences = [s.format(item=rng.choice(ITEMS), when=rng.choice(WHEN)) for s in sentences]
        body = " ".join(s[0].upper() + s[1:] + ("" if s.endswith("?") else ".") for s in sentences)
        message = f"{rng.choice(GREETINGS)} {body} {rng.choice(CLOSINGS)}".strip()
        if message not in seen:
            seen.add(message)
            rows.append({"message": message, "queue": queue})
    return rows


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    """The rows as a csv with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["message", "queue"])
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: list[str] | None = None) -> dilm.Run:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--folder", type=Path, default=Path("runs/support_tickets"))
    options = parser.parse_args(arguments)

    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / "tickets.csv"
    write_csv(file, tickets(120 if options.small else 2500))
    folder = options.folder / ("small" if options.small else "run")
    run = dilm.distill(
        file,
        text="message",
        label="queue",
        dpc=2 if options.small else 10,
        config=SMALL if options.small else None,
        output_dir=folder,
        resume_from_checkpoint=(folder / "config.yaml").exists(),  # goes on if it was interrupted
        evaluation={"learners": ("probe",)},  # fine-tuning on 50 long texts takes longer than all the rest
    )
    (dpc, sets), *_ = run.datasets.items()
    names = sets[0].features["label"].names
    print(f"\nthe first set, {dpc} per queue:")
    for row in sets[0]:
        print(f"  {names[row['label']]:<10} {row['text']}")
    print(f"\nreport: {run.output_dir / 'report.html'}")
    return run


if __name__ == "__main__":
    main()
