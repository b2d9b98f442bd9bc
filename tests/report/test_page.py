import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report.page import (
    ClassChange,
    FoundImage,
    QueryChange,
    RunDetails,
    RunRecord,
    write_page,
)

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NASTY = "<script>alert('x')</script> & \"q\""


def write_run(folder, name="demo", strategies=("finetune", "correlation"), tasks=3):
    rng = np.random.default_rng(len(strategies))
    found = {}
    for strategy in strategies:
        own = rng.random((tasks + 1, tasks))
        joint = np.where(np.tri(tasks + 1, tasks, -1) > 0, own / 2, np.nan)
        found[strategy] = {
            "own/recall_at_1": TaskMatrix(own).to_dict(),
            "joint/recall_at_1": TaskMatrix(joint).to_dict(),
            "own/recall_at_2": TaskMatrix(own).to_dict(),
        }
    (folder / "pictures").mkdir(parents=True)
    Image.new("RGB", (1500, 400), "white").save(folder / f"pictures/retrieval_{strategies[0]}.png")
    (folder / "metrics.json").write_text(json.dumps({"name": name, "strategies": found}))
    (folder / "config.yaml").write_text(f"name: {name}\nseed: 0\nnote: {'long ' * 60}{NASTY}\n")
    environment = {"device": "cpu", "packages": {"torch": "2.9"}, "command": [NASTY, "x" * 300]}
    numbers = {"train": 0.5, "test": 0.314}
    entries = [
        {
            "strategy": strategy,
            "estimator": NASTY,
            "observed_on": "new",
            "divergence_ratio": {"train": None, "test": 0.271},
            "correlation": numbers,
            "nbytes": 41_300,
        }
        for strategy in strategies
    ]
    drifts = {strategy: {"train": {"3": 0.5}, "test": {"3": 0.625}} for strategy in strategies}
    diagnosis = {"summaries": entries, "drift_by_task": drifts}
    (folder / "diagnosis.json").write_text(json.dumps(diagnosis))
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def some_details(tasks=3):
    image = FoundImage(Image.new("L", (40, 40)), NASTY, True)
    other = FoundImage(Image.new("RGB", (40, 60)), "unbreakable" * 6, False)
    return RunDetails(
        interval=(0.612, 0.7),
        classes=[ClassChange(NASTY, 1, 1.0, 0.25), ClassChange("kept", 1, 0.5, 0.5)],
        queries=[QueryChange(image, 1, 1, 17, [image] * 4, [other] * 4)],
        lessons=[QueryChange(other, 2, 23, 1, [other] * 4, [image] * 4)],
        cross=np.tril(np.full((tasks, tasks), 0.5)),
        reindexed=np.tril(np.full((tasks, tasks), 0.5)),
        open_set=[(0.814, 0.333)] * (tasks - 1),
    )


@pytest.fixture
def page(tmp_path):
    record = RunRecord.read(write_run(tmp_path / "run"))
    write_page(tmp_path / "page.html", [record], {(0, "finetune"): some_details()})
    return tmp_path / "page.html"


class Checker(HTMLParser):
    void = frozenset({"meta", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_formed_and_needs_nothing_from_outside(page):
    text = page.read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "script" not in checker.tags
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    assert not re.search(r"https?://|@import|url\(", text)


def test_everything_of_the_user_is_escaped(page):
    text = page.read_text()
    assert "<script>" not in text
    assert text.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;q&#34;") >= 4


def test_page_shows_the_numbers(page, tmp_path):
    text = page.read_text()
    record = RunRecord.read(tmp_path / "run")
    for matrices in record.strategies.values():
        assert f">{100 * matrices['own/recall_at_1'].last():.1f}<" in text
        for value in matrices["own/recall_at_1"].values.ravel():
            assert f">{100 * value:.1f}</span>" in text
    for expected in (
        "61.2 to 70.0",
        "1 of 2 classes lost",
        "-75.0",
        "at the end: place 17",
        "before the task: place 23",
        "0.62 at task 3",
        'style="--v:0.271">0.27</span>',
        '<td data-of="r, held out">0.31</td><td data-of="kB">41.3</td>',
        "0.0 % of the",
        ">81.4<",
        ">33.3<",
    ):
        assert expected in text
    for title in ("Over time", "Learning and keeping", "Old indexes", "Setting", "All metrics"):
        assert f"<h2>{title}" in text


def test_an_update_opens_with_its_verdict(tmp_path):
    folder = write_run(tmp_path / "run", tasks=1)
    found = {"own": {NASTY: 0.5, "new images": 0.25}}
    found["together"] = {NASTY: None, "new images": 0.125}
    update = {"recall_at_1": {"before": found, "after": found}, "verdict": f"Switch. {NASTY}: +1"}
    (folder / "update.json").write_text(json.dumps(update))
    write_page(tmp_path / "p.html", [RunRecord.read(folder)])
    text = (tmp_path / "p.html").read_text()
    assert text.index("Switch. &lt;script&gt;") < text.index("<h2>Summary")
    assert '<td data-of="together, after">12.5</td>' in text
    assert "<script>" not in text
    del update["verdict"]  # as versions before wrote it
    (folder / "update.json").write_text(json.dumps(update))
    write_page(tmp_path / "p.html", [RunRecord.read(folder)])
    assert "class=verdict" not in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize(
    ("last_rows", "expected"),
    [
        (
            {"finetune": [0.5, 0.8], "l2": [0.75, 0.7], "joint": [0.9, 0.9]},
            "l2 finds most: Recall@1 75.0 % on earlier tasks, 70.0 % on the last; "
            "finetune: 50.0, 80.0 %",
        ),
        (
            {"finetune": [0.5, 0.8], "l2": [0.6, 0.7]},
            "Nothing finds more than finetune: Recall@1 50.0 % on earlier tasks, "
            "80.0 % on the last",
        ),
        ({"l2": [0.75, 0.7]}, "l2: Recall@1 75.0 % on earlier tasks, 70.0 % on the last"),
        ({"l2": [0.75], "finetune": [0.5]}, "l2 finds most: Recall@1 75.0 %; finetune: 50.0 %"),
        ({"joint": [0.75, 0.7]}, "joint: Recall@1 75.0 % on earlier tasks, 70.0 % on the last"),
    ],
)
def test_a_run_opens_with_its_verdict(tmp_path, last_rows, expected):
    folder = write_run(tmp_path / "run")
    strategies = {
        name: {"own/recall_at_1": TaskMatrix([*[[0.1] * len(row)] * len(row), row]).to_dict()}
        for name, row in last_rows.items()
    }
    (folder / "metrics.json").write_text(json.dumps({"name": "demo", "strategies": strategies}))
    write_page(tmp_path / "p.html", [RunRecord.read(folder)])
    text = (tmp_path / "p.html").read_text()
    assert text.index(f"<p class=verdict>{expected}</p>") < text.index("<section>")


def test_runs_are_told_apart_and_one_task_has_no_trade_off(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", strategies=["lwf"])]
    write_page(tmp_path / "page.html", [RunRecord.read(run) for run in runs])
    text = (tmp_path / "page.html").read_text()
    assert "demo #1 · finetune" in text
    assert "demo #2 · lwf" in text
    assert "Forgotten queries" not in text
    write_page(tmp_path / "p.html", [RunRecord.read(write_run(tmp_path / "run", tasks=1))])
    text = (tmp_path / "p.html").read_text()
    assert "Learning and keeping" not in text
    assert "· 1 task ·" in text


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"metrics\.json is missing: give the folder"):
        RunRecord.read(tmp_path)
    folder = write_run(tmp_path / "run")
    (folder / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is not JSON"):
        RunRecord.read(folder)
    (folder / "metrics.json").write_text('{"name": "x", "strategies": {"a": {"m": {}}}}')
    with pytest.raises(ValueError, match=r"metrics\.json is not what a run writes: KeyError"):
        RunRecord.read(folder)
    (folder / "metrics.json").write_text('{"name": "x", "strategies": {}}')
    with pytest.raises(ValueError, match="has no own/recall_at_1"):
        write_page(tmp_path / "p.html", [RunRecord.read(folder)])
    with pytest.raises(ValueError, match="no runs to report"):
        write_page(tmp_path / "p.html", [])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_or_is_cut_on_a_laptop_or_a_phone(page, tmp_path, width):
    # A frame has the width asked for; headless windows have a smallest one.
    probe = tmp_path / "probe.html"
    script = (
        "onload=()=>{const d=document.getElementsByTagName('iframe')[0].contentDocument;"
        "d.querySelectorAll('details').forEach(folded=>folded.open=true);"
        "const cut=[...d.querySelectorAll('.scroll')].filter(t=>t.scrollWidth>t.clientWidth);"
        "document.title=[d.documentElement.scrollWidth,d.querySelectorAll('section').length,"
        "d.querySelectorAll('.scroll').length,cut.length]}"
    )
    probe.write_text(
        f"<iframe src=page.html style='width:{width}px;height:800px;border:0'></iframe>"
        f"<script>{script}</script>"
    )
    options = "--headless --no-sandbox --disable-gpu --allow-file-access-from-files"
    command = [CHROMIUM, *options.split(), "--hide-scrollbars", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", probe.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    numbers = re.search(r"<title>([\d,]+)</title>", dom)[1].split(",")
    needed, sections, tables, cut = map(int, numbers)
    assert sections == 14
    assert needed <= width
    assert tables >= 10
    assert cut == 0
