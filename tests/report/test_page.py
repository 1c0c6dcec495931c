"""The page on a study: what it says, and that it needs nothing else and can be heard."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages import Page
from studies import HISTORY, RECORD, made_study, png, share, with_rule

import nescio
from nescio.classifier import make_study
from nescio.data import Dataset, Preprocessing, noise
from nescio.evaluation.study import Study
from nescio.report import render_report, write_report

NASTY = (
    "<script>alert(1)</script>",
    '"quoted" & <b>bold</b>',
    "</svg></title><img src=x onerror=alert(1)>",
    "{{ title }} {% raw %}",
    "' onmouseover='x",
    "\u202e\u0000\ufffe \u2028",
    "",
)
LARGEST = 5_000_000


@pytest.fixture(scope="module")
def study() -> Study:
    return made_study()


@pytest.fixture(scope="module")
def page(study: Study) -> Page:
    return Page(render_report(study))


def check_alone(html: str) -> Page:
    """It asks for nothing, runs nothing, and everything drawn is told in words, too."""
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form", "link"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "srcset"}:
                assert value
                assert value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,"))
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"@import|url\(|https?:", style)
    assert page.of("style")
    assert len(page.of("style")) == 1
    for image in page.of("img"):
        assert (image.get("alt") or "").strip()
    for drawing in page.of("svg"):
        hidden = drawing.get("aria-hidden") == "true"
        assert hidden or (drawing.get("role") == "img" and drawing.get("aria-label"))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(names)) == len(names)
    for link in page.of("a"):
        assert (link["href"] or "").removeprefix("#") in names
    for header in page.of("th"):
        assert header.get("scope") in {"row", "col"}
    assert len(html) < LARGEST
    return page


def test_it_needs_nothing_else_and_can_be_heard(study: Study) -> None:
    html = render_report(study)
    page = check_alone(html)
    assert {"lang": "en"} in page.of("html")
    assert len(page.of("h1")) == len(page.of("main")) == len(page.of("header")) == 1
    assert page.of("nav") == [{"aria-label": "Contents"}]
    policies = [tag for tag in page.of("meta") if "http-equiv" in tag]
    assert policies[0]["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    regions = [tag for tag in page.of("div") if tag.get("role") == "region"]
    assert regions
    assert all(tag.get("tabindex") == "0" and tag.get("aria-label") for tag in regions)


def test_it_says_the_figures(study: Study, page: Page) -> None:
    n, figures = 300, study.rules[0].figures
    assert (
        f"Of 300 images of stripes that it had never seen, the network answered "
        f"{n - figures.refused} and said" in page.text
    )
    accepted = figures.accepted_accuracy
    assert accepted is not None
    for interval in (figures.coverage, accepted, study.forced.accuracy):
        value, rest = interval.percent(1).split("[")
        assert value in page.text
        assert f"[{rest}" in page.text
    assert "98.0 % of noise and 98.0 % of letters" in page.text
    assert "0.100 [0.090, 0.110]" in page.text  # negative log-likelihood
    assert "1,000 bootstrap resamples" in page.text
    assert "nescio evaluate model.nescio stripes" in page.text
    for fingerprint in ("ab" * 32, "cd" * 32, "f1" * 32):
        assert fingerprint in page.text
    assert "nescio 0.1.0, torch 2.13.0" in page.text


def test_the_confusion_matrix(study: Study) -> None:
    html = render_report(study)
    table = html[html.index('<table class="confusion">') :]
    table = table[: table.index("</table>")]
    cells = [int(cell or 0) for cell in re.findall(r"<td class=[^>]*>(\d*)</td>", table)]
    assert cells == study.confusion().flatten().tolist()
    assert ">I don\u2019t know</th>" in table


def figures_by_class(html: str) -> tuple[bool, list[list[str]]]:
    """Whether the table is unfolded, and the text of its cells, row by row."""
    table = html[: html.index("</table>", html.index('<table class="figures">'))]
    fold = re.findall(r'<details class="more"( open)?>', table)[-1]
    body = table[table.rindex("<tbody>") :]
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in body.split("<tr>")[1:]]
    return bool(fold), [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in cells]


def test_every_class_has_its_figures_the_worst_first(study: Study) -> None:
    unfolded, rows = figures_by_class(render_report(study))
    assert unfolded
    assert sorted(row[0] for row in rows) == sorted(study.classes)
    labels, forced, own = study.test.labels, study.test.forced, study.test.answers[0]
    assert labels is not None
    shares = []
    for name, n, right, refused, wrong in rows:
        here = labels == study.classes.index(name)
        total, hit = int(here.sum()), int((here & (forced == labels)).sum())
        answered = here & own.accepted
        missed = int((answered & (own.top != labels)).sum())
        assert n == str(total)
        assert right == share(hit, total).percent(1)
        assert refused == share(total - int(answered.sum()), total).percent(1)
        assert wrong == share(missed, int(answered.sum())).percent(1)
        shares.append(hit / total)
    assert shares == sorted(shares)
    assert len(set(shares)) > 1


def test_figures_of_many_classes_begin_folded() -> None:
    unfolded, rows = figures_by_class(render_report(made_study(tuple("abcdefghijklmnopqrstu"))))
    assert (unfolded, len(rows)) == (False, 21)


def test_figures_of_a_class_of_which_nothing_is_known() -> None:
    study = made_study(("a", "b"), refused=2.0)
    _, rows = figures_by_class(render_report(replace(study, classes=("c", "a", "b"), test=replace(
        study.test, labels=study.test.labels + 1))))  # fmt: skip
    assert rows[-1] == ["c", "0", *["\u2013"] * 3]
    assert all(row[3].startswith("100.0 %") and row[4] == "\u2013" for row in rows[:2])


def test_galleries_show_what_is_refused_and_why(page: Page, study: Study) -> None:
    for heading in (
        "Answered, but wrong",
        "Refused as ambiguous",
        "Refused as unfamiliar",
        "noise: answered nevertheless",
        "letters: refused",
        "Answered, and right",
    ):
        assert heading in page.text
    assert "between left and top" in page.text
    assert "nearest to" in page.text
    assert len(page.of("img")) == len(page.of("summary")) - 4
    medians = [tag["aria-label"] or "" for tag in page.of("div") if tag.get("class") == "votes"]
    assert len(medians) == len(page.of("img"))
    assert all("Highest medians: " in words for words in medians)
    told = [tag.get("aria-label") or "" for tag in page.of("svg")]
    assert any("of 60 calibration images" in words for words in told)


def test_graphs_in_words(page: Page) -> None:
    words = " ".join(tag.get("aria-label") or "" for tag in page.of("svg"))
    assert "Risk against coverage. Answering all images" in words
    assert "The rule in force answers" in words
    assert "Reliability. Of " in words
    assert "Histograms of unfamiliarity, in nats. stripes: " in words
    assert "noise: 98.0\u00a0% of 50 images beyond 4." in words
    assert "ELBO: \u22122 after pass 1, \u22120.667 after pass 3" in words
    assert "blur, 100 images; answered: 100\u00a0% at 0, 80.0\u00a0% at 1" in words


def test_nothing_answered() -> None:
    page = check_alone(render_report(made_study(refused=2.0)))
    assert "As it answered none, there is no accuracy to tell" in page.text
    assert "nothing was answered" in page.text
    assert "None of its answers on stripes is wrong." in page.text
    assert "The rule in force answers nothing, so it has no point here." in page.text
    assert not re.search(r"\b(nan|inf)\b", page.text, re.IGNORECASE)


def test_nothing_refused_and_nothing_wrong() -> None:
    study = made_study(refused=0.0, wrong=0.0)
    flat = replace(study.rules[0].figures.curve, low=np.zeros(300), high=np.full(300, 0.01))
    rule = replace(study.rules[0], figures=replace(study.rules[0].figures, curve=flat))
    page = check_alone(render_report(replace(study, rules=(rule,))))
    assert "No image of any class was refused." in page.text
    assert "No image of stripes was refused as ambiguous." in page.text
    assert "is wrong." in page.text
    assert not re.search(r"\b(nan|inf)\b", page.text)


def test_no_strange_set_no_history_no_corruption_no_image() -> None:
    study = made_study(shifted=(), curves=())
    bare = replace(study, model=replace(study.model, history=HISTORY[:1]), specimens=())
    page = check_alone(render_report(bare))
    assert "No strange images were tried" in page.text
    assert "--ood noise:1000" in page.text
    assert "No image was kept." in page.text
    assert "No images were made worse on purpose" in page.text
    for heading in ("How it learned", "Beside the article"):
        assert heading not in page.text


def test_many_classes_list_their_largest_confusions() -> None:
    names = tuple(f"<i>{n}" for n in range(200))
    html = render_report(made_study(names, n=2000, never=3))
    page = check_alone(html)
    assert "<i>" not in html
    assert 'class="confusion"' not in html
    assert re.search(r"200 classes; of \d+ wrong answers the commonest", page.text)
    assert "The 20 of 200 classes that are refused most" in page.text
    assert "It never answered <i>3." in page.text


def test_a_class_without_images() -> None:
    study = made_study(("a", "b"))
    page = check_alone(render_report(replace(study, classes=("a", "b", "c"))))
    assert "There was no image of c." in page.text


def test_the_article_beside_mnist_only(page: Page) -> None:
    assert "Beside the article" not in page.text
    mnist = made_study(tuple("0123456789"), name="mnist", shifted=("noise",))
    told = Page(render_report(mnist)).text
    assert "Beside the article" in told
    assert "95.0 % (95/100)" in told
    assert "79.1 % (363/459) not tried" in told


def test_other_rules() -> None:
    study = made_study()
    median = with_rule(study, kind="quantile", quantile=0.5, threshold=0.2)
    page = check_alone(render_report(median))
    assert "Nothing: this rule was not calibrated." in page.text
    words = " ".join(tag.get("aria-label") or "" for tag in page.of("svg"))
    assert "of 300 images beyond 0.8." in words
    for limit in ("all", "none"):
        check_alone(render_report(with_rule(study, unfamiliar=[limit], doubtful=[limit])))
    several = with_rule(study, unfamiliar=[1.0, 4.0, 2.0], doubtful=[0.1, "none", 0.2])
    check_alone(render_report(several))
    second = replace(study.rules[0], name="median:0.2", record={**RECORD, "kind": "none"})
    both = Page(render_report(replace(study, rules=(study.rules[0], second))))
    assert "One rule beside the other" in both.text
    assert "median:0.2" in both.text


def test_infinite_unfamiliarity() -> None:
    study = made_study()
    answers = study.test.answers[0]
    strange = answers.unfamiliarity.copy()
    strange[:5] = np.inf
    test = replace(study.test, answers=(replace(answers, unfamiliarity=strange),))
    shown = tuple(replace(s, scores={**s.scores, "unfamiliarity": np.inf}) for s in study.specimens)
    page = check_alone(render_report(replace(study, test=test, specimens=shown)))
    assert "no number" in " ".join(page.words)


def test_large_images_are_made_small() -> None:
    study = made_study()
    big = tuple(replace(s, png=png(300, 3)) for s in study.specimens)
    html = render_report(replace(study, specimens=big))
    check_alone(html)
    assert "data:image/jpeg;base64," in html
    assert len(html) < 100 * 30_000


@pytest.mark.slow
@given(
    names=st.lists(
        st.one_of(st.sampled_from(NASTY), st.text(max_size=40)),
        min_size=2,
        max_size=6,
        unique=True,
    ),
    sets=st.lists(st.sampled_from(NASTY), max_size=2, unique=True),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_labels_are_escaped_everywhere(names: list[str], sets: list[str]) -> None:
    study = made_study(names, n=60, shifted=sets, curves=sets)
    html = render_report(study)
    plain = render_report(made_study([f"c{i}" for i in range(len(names))], 60, sets, curves=sets))
    # The same page but for the words: no label makes a tag, ends one, or adds an attribute.
    own, other = check_alone(html), Page(plain)
    assert [tag for tag, _ in own.tags] == [tag for tag, _ in other.tags]
    assert [sorted(a) for _, a in own.tags] == [sorted(a) for _, a in other.tags]


def test_of_a_real_classifier(classifier: nescio.Classifier, data: Dataset, tmp_path: Path) -> None:
    assert data.test is not None
    shifted = {"noise": noise(30, Preprocessing(1, 6, 6))}
    study = make_study(classifier, data.test, shifted, samples=10, corruptions=("blur",))
    path = tmp_path / "report.html"
    write_report(path, study)
    page = check_alone(path.read_text(encoding="utf-8"))
    assert "Of 150 images of stripes that it had never seen" in page.text
