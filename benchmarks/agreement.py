"""Does a set that does well on dev do well on test? The scores of single sets, correlated; from result files.

    python benchmarks/agreement.py tries_qqp.json coresets_qqp_fine_tuned.json --method dilm-sure --dpc 20

Both files lie in benchmarks/results: of on_dev.py the first; of coresets.py the second, with the METHOD's first sets as
they came, and as `dilm-best` those that on_dev.py kept: by the scores of the first file, or of the one of `--kept-by`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from coresets import rows_of
from scipy.stats import pearsonr, ttest_ind

from dilm.evaluation.statistics import best_sets, metric_of

RESULTS = Path(__file__).parent / "results"
KEPT = "dilm-best"


def scores(rows: list[dict], metric: str, method: str, dpc: int) -> dict[int, float]:
    """Mean score of each set of a method."""
    own = [row for row in rows if (row["method"], row["dpc"]) == (method, dpc)]
    numbers = sorted({row["set"] for row in own})
    return {n: float(np.mean([metric_of(row, metric) for row in own if row["set"] == n])) for n in numbers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dev")
    parser.add_argument("test")
    parser.add_argument("--kept-by")
    parser.add_argument("--method", required=True)
    parser.add_argument("--dpc", type=int, required=True)
    args = parser.parse_args()
    names = (args.dev, args.test, args.kept_by or args.dev)
    dev_facts, test_facts, kept_facts = (json.loads((RESULTS / name).read_text(encoding="utf-8")) for name in names)
    metric = test_facts["metric"]
    dev = scores(rows_of(dev_facts), metric, args.method, args.dpc)
    test_rows = [row for row in rows_of(test_facts) if row["learner"] == "finetune:offline"]
    test = scores(test_rows, metric, args.method, args.dpc)
    unchosen, kept = dict(test), scores(test_rows, metric, KEPT, args.dpc)
    numbers = best_sets(rows_of(kept_facts), metric, len(kept))[args.method, args.dpc]
    test |= {numbers[place]: score for place, score in kept.items()}
    both = sorted(dev.keys() & test.keys())
    found: Any = pearsonr([dev[n] for n in both], [test[n] for n in both])
    print(f"dev and test, {len(both)} sets: r {found.statistic:.2f}, p {found.pvalue:.4f}")
    first = sorted(dev.keys() & unchosen.keys())
    found = pearsonr([dev[n] for n in first], [unchosen[n] for n in first])
    print(f"dev and test, the {len(first)} unchosen: r {found.statistic:.2f}, p {found.pvalue:.4f}")
    others = [score for n, score in unchosen.items() if n not in numbers]
    difference: Any = ttest_ind(list(kept.values()), others, equal_var=False)
    all_, of_kept = (100 * np.mean([dev[n] for n in some if n in dev]) for some in (dev, numbers))
    print(f"dev: {len(dev)} sets {all_:.1f}, the {len(numbers)} kept {of_kept:.1f}: {numbers}")
    means = [100 * np.mean(list(values)) for values in (unchosen.values(), kept.values(), others)]
    print(
        "test: unchosen {:.1f}, kept {:.1f}, not kept {:.1f}".format(*means),
        f"(p {difference.pvalue:.4f}, {len(others)} sets)",
    )


if __name__ == "__main__":
    main()
