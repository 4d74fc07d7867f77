"""Few-shot prompts from distilled texts, for any language model: plain text, chat messages, or your own layout.

    python examples/few_shot_prompts.py                              # embedded reviews
    python examples/few_shot_prompts.py --run runs/mine --model id   # ask a causal LM, and count

Distilled texts are few and cover their class, which is what examples in a prompt have to do. With `--model`, a Hub id
or a path, that model classifies texts of the test split, with distilled and with random real texts in its prompt.
`--small` runs in seconds.
"""

import argparse
import json
from pathlib import Path

import dilm

SMALL = Path(__file__).with_name("small.yaml")
SHORT = {"dpc": 5, "language_modeling": {"max_steps": 600}, "evaluation": {"learners": ("probe",)}}
OWN_LAYOUT = """\
You sort texts into: {{ label_names | join(", ") }}.
{% for one in examples %}
<text label="{{ one.label_name }}">{{ one.text }}</text>
{% endfor %}
<text label="?">{{ query.text }}</text>
"""


def compare_in_context(run: dilm.Run, model: str, texts: int) -> None:
    """Accuracy of the model with distilled and with random texts in the prompt."""
    task = dilm.load_task(run.config["task"], text=run.config["text"], label=run.config["label"])
    folder, dpc = run.output_dir.with_name(f"{run.output_dir.name}-in-context"), min(run.datasets)
    dilm.select(task, method="random", dpc=dpc, sets=3, output_dir=folder / "random")
    dilm.evaluate(
        [run.output_dir, folder / "random"],
        task=task,
        learners=[f"icl:{model}"],
        recipe=dilm.RecipeConfig(seeds=1, max_texts=texts),
        output=folder / "results.json",
    )
    for line in dilm.compare([folder / "results.json"])["lines"]:
        print(f"{line['method']}, {line['dpc']} per class in the prompt: {line['mean']:.1%}")


def main(arguments: list[str] | None = None) -> dict[str, str]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run of single texts; without it the reviews are distilled")
    parser.add_argument("--text", default="I expected more, and yet it grew on me.", help="the text in question")
    parser.add_argument("--model", help="a causal LM that classifies the test split with such prompts")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    options = parser.parse_args(arguments)

    settings = {"config": SMALL, "dpc": 2} if options.small else SHORT
    run = dilm.Run(options.run) if options.run else dilm.distill("reviews", **settings)
    asked = [options.text]
    prompts = {
        "plain": dilm.prompt(run.output_dir, query=asked),
        "chat": dilm.prompt(run.output_dir, query=asked, format="chat"),
        "own layout": dilm.prompt(run.output_dir, query=asked, template=OWN_LAYOUT),
    }
    for name, prompt in prompts.items():
        print(f"---- {name}: {len(prompt.split())} words\n{prompt}\n")
    # What a chat model is called with: client.chat.completions.create(model=..., messages=messages)
    messages = json.loads(prompts["chat"])
    print(f"{len(messages)} messages, the last one asks: {messages[-1]['content']!r}")
    if options.model:
        compare_in_context(run, options.model, 20 if options.small else 500)
    return prompts


if __name__ == "__main__":
    main()
