"""What the page of refusals holds; how it behaves is tested in a browser."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from review_support import NASTY, decisions, probabilities, rename, review_of
from tests_support import stripes

from nescio.errors import UnreadableImage
from nescio.refusal import Reason
from nescio.report import compose_review, questions, render_review, write_review
from nescio.report import review as module
from nescio.report.review import LARGEST_PAGE, MOST_PROPOSED
from nescio.report.thumbnail import LARGEST_SIDE, thumbnail


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        data = re.search(r'<script type="application/json" id="review">(.*?)</script>', text)
        self.json = json.loads(data[1]) if data else {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_what_is_asked_by_hand() -> None:
    p = torch.tensor(
        [[0.5, 0.45, 0.03, 0.01, 0.01], [0.1, 0.2, 0.3, 0.25, 0.15], [0.9, 0.1, 0, 0, 0]]
    )
    decided = rename(decisions(p, unfamiliar=[1], answered=[2]), "abcde")
    asked = questions(decided, ["x", "y", "z"], stripes(3, 0).images)
    assert [question.name for question in asked] == ["x", "y"]
    doubtful, strange = asked
    assert doubtful.reason is Reason.AMBIGUOUS
    assert doubtful.words == "Ambiguous, between a and b"
    # Both that are put forward, the third by probability, and what it is most like.
    assert doubtful.proposals == (0, 1, 2, 3)
    assert doubtful.probabilities == pytest.approx((0.5, 0.45, 0.03, 0.01))
    assert doubtful.facts == ("nearest to d", "about 25.0\u00a0% of familiar images are as strange")
    assert strange.reason is Reason.UNFAMILIAR
    assert strange.words == "Unfamiliar, nearest to a"
    assert strange.proposals == (2, 3, 1, 0)
    assert strange.doubt == 1.0
    assert strange.facts[0] == "given away by stage image"
    third = questions(decided, ["x", "y", "z"], stripes(3, 0).images, answered=True)[2]
    assert (third.reason, third.words) == (None, "Answered a")


def test_what_the_words_put_forward_comes_first() -> None:
    """The rule weighs more than the networks, whose percentages stand on the buttons."""
    p = torch.tensor([[0.9, 0.05, 0.03, 0.01, 0.01]])
    decided = rename(decisions(p), "abcde")
    proposed = torch.tensor([[False, False, True, False, True]])
    decided = replace(decided, verdicts=replace(decided.verdicts, proposed=proposed))
    (asked,) = questions(decided, ["x"], stripes(1, 0).images)
    assert asked.words == "Ambiguous, between c and e"
    assert asked.proposals[:4] == (2, 4, 0, 1)


def test_no_more_proposals_than_digit_keys() -> None:
    p = torch.full((1, 40), 1 / 40)
    decided = decisions(p)
    everything = replace(
        decided, verdicts=replace(decided.verdicts, proposed=torch.ones(1, 40, dtype=torch.bool))
    )
    asked = questions(everything, ["x"], stripes(1, 0).images)
    assert len(asked[0].proposals) == MOST_PROPOSED == len(set(asked[0].proposals))


def test_sorted_by_reason_and_doubt_and_cut_fairly() -> None:
    p = probabilities(12, 3)
    decided = decisions(p, unfamiliar=range(4, 12), answered=[0, 1])
    names = [str(i) for i in range(12)]
    asked = questions(decided, names, stripes(12, 0).images, answered=True)

    def shown(limit: int) -> list[str]:
        review = compose_review("s", asked, "abc", looked=12, limit=limit)
        assert review.wanted == 12
        return [question.name for question, _ in review.cards]

    assert shown(99) == ["3", "2", "11", "10", "9", "8", "7", "6", "5", "4", "1", "0"]
    assert shown(4) == ["3", "2", "11", "10"]
    assert shown(6) == ["3", "2", "11", "10", "9", "8"]
    assert shown(1) == ["3"]


@pytest.mark.parametrize("side", [8, 128])
def test_a_page_is_never_larger_than_it_says(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (40, 3, side, side), dtype=np.uint8))
    names = [f"/some/folder/{NASTY[i % 4]}" for i in range(40)]
    decided = rename(decisions(probabilities(40, 4), unfamiliar=range(20, 40)), NASTY)
    asked = questions(decided, names, images)
    monkeypatch.setattr(module, "LARGEST_PAGE", 150_000)
    review = compose_review("s", asked, NASTY, looked=40)
    assert 4 <= len(review.cards) < 40
    reasons = [question.reason for question, _ in review.cards]
    assert abs(reasons.count(Reason.AMBIGUOUS) - reasons.count(Reason.UNFAMILIAR)) <= 1
    assert review.wanted == 40
    html = render_review(review)
    assert 50_000 < len(html) < 150_000
    assert f"{len(review.cards)} of them are on this page" in Page(html).text
    assert LARGEST_PAGE == 10_000_000


def test_thumbnails_keep_small_images_and_reduce_large_ones(tmp_path: Path) -> None:
    small = thumbnail(stripes(1, 0).images[0])
    with Image.open(BytesIO(small.content)) as picture:
        assert np.array_equal(np.asarray(picture), stripes(1, 0).images[0, 0].numpy())
    assert (small.kind, small.width, small.height, small.small) == ("image/png", 6, 6, True)
    rng = np.random.default_rng(0)
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (900, 1600, 3), dtype=np.uint8)).save(path)
    large = thumbnail(path)
    assert (large.width, large.height) == (LARGEST_SIDE, 180)
    assert large.uri.startswith("data:image/jpeg;base64,")
    with pytest.raises(UnreadableImage):
        thumbnail(tmp_path / "gone.png")


def test_everything_is_escaped(tmp_path: Path) -> None:
    review = review_of(tmp_path, NASTY)
    nasty = tuple(
        (replace(q, name=f"/{q.name}/{NASTY[i % 4]}"), t) for i, (q, t) in enumerate(review.cards)
    )
    failures = ((NASTY[0], f"{NASTY[0]}: {NASTY[1]}"),)
    html = render_review(replace(review, cards=nasty, title=NASTY[0], failures=failures))
    page = Page(html)
    assert [tag for tag, _ in page.tags if tag in {"script", "b", "i"}].count("script") == 2
    assert page.json["classes"] == list(NASTY)
    assert page.json["images"] == [question.name for question, _ in nasty]
    options = [a["value"] for tag, a in page.tags if tag == "option"]
    assert options == list(NASTY)
    assert all(tag != "i" for tag, _ in page.tags)
    assert sum(tag == "b" for tag, _ in page.tags) == 1  # the count


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = Page(render_review(review_of(tmp_path, "abc")))
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "data:image/").startswith("data:image/")
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        r"script-src 'sha256-\S{44}'; style-src 'sha256-\S{44}'",
        str(policy),
    )


@pytest.mark.parametrize("kind", ["js", "css"])
def test_sources_cannot_break_out(kind: str) -> None:
    source = (Path(module.__file__).parent / "templates" / f"review.{kind}").read_text()
    assert "</" not in source.replace("</dev", "")
    assert "<!--" not in source


def test_labels_of_a_page_belong_to_that_page(tmp_path: Path) -> None:
    review = review_of(tmp_path, "abc")
    same = review_of(tmp_path, "abc")
    assert review.fingerprint == same.fingerprint
    others = [
        replace(review, classes=("a", "c", "b")),
        replace(review, cards=review.cards[1:]),
        replace(
            review,
            cards=((replace(review.cards[0][0], name="x"), review.cards[0][1]), *review.cards[1:]),
        ),
        replace(review, cards=((review.cards[0][0], review.cards[1][1]), *review.cards[1:])),
    ]
    assert len({review.fingerprint, *(other.fingerprint for other in others)}) == 5


@pytest.mark.parametrize(
    ("classes", "keys"),
    [
        (("3", "B"), {"3": 0, "b": 1}),
        (("a", "A"), {}),
        (("a", "bc"), {}),
        (("a", "-"), {}),
        (("a", "é"), {}),
    ],
)
def test_keys_of_classes(tmp_path: Path, classes: tuple[str, ...], keys: dict[str, int]) -> None:
    assert replace(review_of(tmp_path, "ab"), classes=classes).keys == keys


def test_nothing_refused_and_nothing_readable() -> None:
    nothing = compose_review("photos", [], "abc", looked=7)
    html = render_review(nothing)
    assert "Nothing to label: of 7 images the model refused none." in Page(html).text
    assert "<script" not in html
    failed = compose_review("photos", [], "abc", looked=1, failures=[("a<b.png", "a<b.png: gone")])
    assert "Could not be read 1 a<b.png: gone" in Page(render_review(failed)).text


def test_images_that_cannot_be_shown_are_listed(tmp_path: Path) -> None:
    asked = questions(
        decisions(probabilities(3, 3)),
        [str(tmp_path / "gone.png"), r"/bad\xff.png", "z[2]"],
        [tmp_path / "gone.png", tmp_path / "bad.png", stripes(1, 0).images[0]],
    )
    review = compose_review("s", asked, "abc", looked=3)
    assert [question.name for question, _ in review.cards] == ["z[2]"]
    assert review.wanted == 1
    assert [why for _, why in review.failures] == [
        f"{tmp_path / 'bad.png'}: no such file",
        f"{tmp_path / 'gone.png'}: no such file",
    ]
    path = tmp_path / "page.html"
    write_review(path, review)
    assert r"/bad\xff.png" in Page(path.read_text()).text
