"""The report: one dict of facts, three renderings; complete without checkpoints, scripts or matplotlib."""

import base64
import dataclasses
import hashlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from dilm.cli import main
from dilm.config import load_config
from dilm.diagnostics import CURVE_POINTS, describe_matching, learning_curve
from dilm.report.card import dataset_card
from dilm.report.command import command
from dilm.report.facts import SHOWN_PER_CLASS, cell_text, licence, run_facts, shown_texts
from dilm.report.figures import figures, short_name
from dilm.report.html import html_page
from dilm.report.markdown import markdown_report
from dilm.run_folder import Run, as_yaml, plain, read_set, write_set
from dilm.text_map import MOST, project, sample
from dilm.verbs import distill_settings

RENDERINGS = ("report.html", "report.md", "report.json")


@pytest.fixture(scope="module")
def run(finished_run):
    return finished_run


@pytest.fixture(scope="module")
def page(run):
    return (run.output_dir / "report.html").read_text(encoding="utf-8")


def test_dilm_report_makes_the_same_report_from_a_folder_without_checkpoints(run, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(run.output_dir, folder, ignore=shutil.ignore_patterns("checkpoints", "generator", "pool.parquet"))
    for name in RENDERINGS:
        (folder / name).unlink()
    assert main(["report", str(folder)]) == 0
    assert f"report: {folder}/report.html" in capsys.readouterr().out
    for name in RENDERINGS:
        made, before = ((place / name).read_text().replace(str(place), "RUN") for place in (folder, run.output_dir))
        assert made == before, name


def test_without_overlap_json_the_report_holds_no_training_text(run, page, task, tmp_path):
    shutil.copytree(run.output_dir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    nearest = run_facts(run)["overlap"]["nearest"][0]["nearest_text"]
    assert nearest in task.texts("train") and nearest in page
    (tmp_path / "run/overlap.json").unlink()
    assert main(["report", str(tmp_path / "run"), "--quiet"]) == 0
    for name in RENDERINGS:
        assert nearest not in (tmp_path / "run" / name).read_text(encoding="utf-8")


def test_the_page_is_one_file_with_one_script_that_its_policy_names(page):
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == page.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert not re.search(r"\bsrc=|@import|url\((?!#)|<link|<image", page)


def test_every_plot_has_a_title_a_description_and_ids_of_its_own(run, page):
    facts = run_facts(run)
    plots = figures(facts)
    assert [plot.name for plot in plots] == [
        "accuracy-0", "accuracy-1", "stage-1", "stage-2", "map-pool", "map-distilled",
    ]  # fmt: skip
    assert page.count("<svg") == page.count("<desc>") == len(plots)
    assert all(f"<title>{plot.title}</title>" in plot.svg for plot in plots)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {wanted[1:] for wanted in re.findall(r'(?:url\(|href=")(#[^")]+)', page)} <= set(ids)
    assert plots == figures(facts), "the same facts give the same bytes"


def test_all_renderings_tell_the_same_figures(run, page):
    facts = json.loads((run.output_dir / "report.json").read_text(encoding="utf-8"))
    markdown = (run.output_dir / "report.md").read_text(encoding="utf-8")
    assert facts["summary"] and len(facts["texts"]["positive"]) == 3
    for line in facts["summary"]:
        assert np.mean(line["set_means"]) == pytest.approx(line["mean"])
        assert len(line["set_means"]) == line["sets"]
        assert cell_text(line) in page and cell_text(line) in markdown
    counts = [facts["diagnostics"][group]["texts"] for group in ("pool", "distilled", "real")]
    assert f"| texts | {' | '.join(f'{count:,}' for count in counts)} |" in markdown
    for row in facts["texts"]["positive"]:
        assert row["shared_words"] <= row["words"] + 5 and 0 <= row["char_similarity"] <= 1
        assert f'data-value="{row["char_similarity"]}"' in page
    assert set(facts["peak_memory"]) == set(facts["seconds"]) and facts["machine"] in page
    assert min(stage["ram"] for stage in facts["peak_memory"].values()) > 1e7


def test_a_run_of_an_earlier_version_still_has_a_report(run, tmp_path):
    shutil.copytree(run.output_dir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    path = tmp_path / "run/results.json"
    results = json.loads(path.read_text())
    for key in ("learning_curves", "map", "peak_memory", "machine"):
        del results[key]
    path.write_text(json.dumps(results))
    for file in (tmp_path / "run").glob("dpc_*/*.jsonl"):
        write_set(file, *read_set(file), results["label_names"])  # without soft labels
    facts = run_facts(Run(tmp_path / "run"))
    assert "label_probs" in dataset_card(run_facts(run)) and "label_probs" not in dataset_card(facts)
    assert Run(tmp_path / "run").datasets[3][0].column_names == ["text", "label"]
    assert "kept no learning curves" in html_page(facts) and "## Costs" in markdown_report(facts)


def test_a_folder_that_lost_its_sets_or_results_is_told(run, tmp_path, capsys):
    folder = shutil.copytree(run.output_dir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "dpc_*"))
    assert main(["report", str(folder)]) == 2
    assert "holds no distilled sets" in capsys.readouterr().err
    (folder / "results.json").write_text('{"task": "t", "rows": []}')
    assert main(["report", str(folder)]) == 2
    assert "is not that of a run: it has no diagnostics" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("objective", "matched"), [("gradient", "gradient"), ("distribution", "mean feature"), (None, "gradient")]
)
def test_the_report_names_what_stage_2_matched(run, tmp_path, objective, matched):
    shutil.copytree(run.output_dir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    config = dict(run.config)
    if objective is None:  # a run from before there was a choice
        del config["gradient_matching"]["objective"]
    else:
        config["gradient_matching"]["objective"] = objective
    (tmp_path / "run/config.yaml").write_text(as_yaml(config))
    page = html_page(run_facts(Run(tmp_path / "run")))
    other = {"gradient": "mean feature", "mean feature": "gradient"}[matched]
    assert f"Cosine between the {matched}s of" in page and f"Cosine between the {other}s of" not in page
    assert f"{matched.capitalize()} cosine in stage 2" in page


def test_a_text_that_was_edited_has_no_overlap_figures(run, tmp_path):
    shutil.copytree(run.output_dir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    path = tmp_path / "run/dpc_3/dataset_0.jsonl"
    first, *others = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "text": "edited by hand"}), *others]) + "\n")
    assert main(["report", str(tmp_path / "run"), "--quiet"]) == 0
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert page.count('<td class="number" data-value="-1">-</td>') == 2
    row = next(part for part in page.split("<tr>") if "edited by hand" in part)
    assert row.count("<td") == 4


def test_without_matplotlib_the_page_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = html_page(run_facts(run))
    assert "<svg" not in page and "dilm[report]" in page and page.count("<tr") > 20


def test_names_of_any_kind_are_drawn_as_they_are(run):
    facts = run_facts(run)
    names = ["$\\frac{1", "_<b> & 日本語"]
    drawn = {plot.name: plot.svg for plot in figures({**facts, "label_names": names})}
    assert "$\\frac{1" in drawn["map-pool"] and "_&lt;b&gt; &amp; 日本語" in drawn["map-pool"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["mine files.csv", "--text", "the review", "--label", "stars", "--dpc", "5", "20", "--seed", "3"],
        ["reviews", "--preset", "paper", "--gradient-matching.max-steps", "100", "--bf16", "False", "--lora-r", "4"],
        ["reviews", "--evaluation.icl-calibrated"],
        ["reviews", "--evaluation.learners", "probe", "tfidf", "--max-overlap", "8", "--generator", "gpt2"],
    ],
)
def test_the_command_of_a_report_gives_the_settings_of_the_run(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine files.csv").touch()

    def settings(arguments):
        chosen, _, given = distill_settings("distill", arguments)
        return chosen.preset, load_config(chosen.preset, None, given)[0]

    preset, config = settings(options)
    recorded = {"preset": preset, **plain(dataclasses.asdict(config)), "versions": {}, "task_fingerprint": ""}
    made = shlex.split(command(yaml.safe_load(as_yaml(recorded))))
    assert made[:2] == ["dilm", "distill"] and settings(made[2:]) == (preset, config)
    assert command(recorded | {"task": "a Dataset"}) is None


def test_a_learning_curve_is_the_history_thinned_by_means():
    history = [{"loss": float(i)} for i in range(5)]
    assert learning_curve(history) == [{"step": i + 1, "loss": float(i)} for i in range(5)]
    long = [{"loss": float(i), **({"real_cosine": 1.0} if i % 10 == 0 else {})} for i in range(1000)]
    points = learning_curve(long)
    assert len(points) == CURVE_POINTS and points[-1] == {"step": 1000, "loss": 997.0}
    assert points[0] == {"step": 5, "loss": 2.0, "real_cosine": 1.0}
    assert learning_curve([{"loss": None, "cosine": float("nan")}, {"loss": 0.0}]) == [
        {"step": 1},
        {"step": 2, "loss": 0.0},
    ]
    assert learning_curve([]) == []


def test_figures_that_were_not_finite_come_back_from_json_as_none():
    record = {"loss": None, "cosine": None, "grad_norm": None, "real_cosine": None}
    assert describe_matching([record, {"cosine": 0.5, "grad_norm": 1.0}])["non_finite"] == 0.5


def test_all_groups_of_the_map_lie_in_the_projection_of_the_real_texts():
    real = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    places = project({"real": real, "pool": real[:3] + 1}, {"real": [0] * 40, "pool": [1, 0, 1]})
    centred = real - real.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    expected = (real[:3] + 1 - real.mean(0)) @ axes.T
    found = np.stack([places["pool"]["x"], places["pool"]["y"]], axis=1)
    assert np.allclose(np.abs(found), np.abs(expected), atol=1e-3)
    assert places["pool"]["label"] == [1, 0, 1] and len(places["real"]["x"]) == 40
    alike = project({"real": np.ones((4, 3), np.float32)}, {"real": [0] * 4})
    assert alike["explained"] == [0, 0] and alike["real"]["x"] == [0] * 4
    assert sample(3, 0) == [0, 1, 2] and len(set(sample(10 * MOST, 0))) == MOST


# In a browser


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (400, True)])
def test_in_a_browser_texts_can_be_searched_and_sorted_without_any_console_error(run, width, dark, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    from report_images import open_page
    from selenium.webdriver.common.by import By

    browser = open_page(run.output_dir / "report.html", width, 900, dark)
    try:

        def shown():
            return [
                cell for cell in browser.find_elements(By.CSS_SELECTOR, ".texts td:first-child") if cell.is_displayed()
            ]

        all_texts = [cell.text for cell in shown()]
        assert len(all_texts) == 6
        assert browser.execute_script("return document.documentElement.scrollWidth") == width, "no sideways scrolling"

        search = browser.find_element(By.ID, "search")
        search.send_keys(all_texts[4].upper())
        assert [cell.text for cell in shown()] == [all_texts[4]]
        assert browser.find_element(By.ID, "found").text == "1 of 6 texts"
        search.clear()
        search.send_keys("no such text")
        assert shown() == []
        search.clear()
        search.send_keys(" ")
        assert [cell.text for cell in shown()] == all_texts

        text, *_, similarity = browser.find_elements(By.CSS_SELECTOR, ".texts thead button")
        for order, button in (("ascending", text), ("descending", text), ("ascending", similarity)):
            button.click()
            head = browser.find_element(By.CSS_SELECTOR, ".texts [aria-sort]")
            assert head.get_attribute("aria-sort") == order and button.text in head.text
            column = head.get_property("cellIndex")
            for group in browser.find_elements(By.CSS_SELECTOR, ".texts tbody"):
                values = [
                    row.find_elements(By.TAG_NAME, "td")[column].get_attribute("data-value")
                    for row in group.find_elements(By.TAG_NAME, "tr")[1:]
                ]
                if button is similarity:
                    values = [float(value) for value in values]
                    assert values == sorted(values)
                else:
                    initials = [re.sub(r"\W", "", value.casefold())[:1] for value in values]
                    assert initials == sorted(initials, reverse=order == "descending")
        assert sorted(cell.text for cell in shown()) == sorted(all_texts)
        assert browser.get_log("browser") == []
    finally:
        browser.quit()


def test_what_is_left_out_is_said_and_names_keep_their_beginning(run):
    assert shown_texts(SHOWN_PER_CLASS) == "set 0 of 50 per class"
    assert shown_texts(100) == "set 0 of 100 per class, the first 50 of each"
    assert short_name("apple_pay_or_google_pay") == "apple_pay_or_google…" and short_name("a \n b") == "a b"
    assert licence({"license": ["cc-by-4.0", "mit"]}) == "cc-by-4.0, mit" and licence({}) is None
    assert licence({"license": "other", "license_name": 1.0}) == "1.0"
    told = markdown_report(run_facts(run) | {"licence": "<img> [x](y)", "command": None})
    assert r"source: \<img\> \[x\](y)" in told and 'dilm.distill(task, config="config.yaml")' in told
