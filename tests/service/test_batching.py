"""The batcher: answers as the classifier gives them, whatever they are batched with, in turns."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

import nescio
from nescio.classifier import Predictor
from nescio.data import Dataset
from nescio.refusal import Decision, Decisions, Rule
from nescio.service.batching import Answer, Batcher, BatchSettings, Busy, Work

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Model:
    predictor: Predictor


@pytest.fixture(scope="module")
def model(classifier: nescio.Classifier) -> Model:
    return Model(classifier.predictor())


@pytest.fixture(scope="module")
def images(data: Dataset) -> Tensor:
    """Familiar ones and noise, ``(40, 1, 6, 6)``."""
    assert data.test is not None
    noise = torch.randint(0, 256, (15, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    return torch.cat([data.test.images[:25], noise.to(torch.uint8)])


def work(model: Model, images: Tensor, **changes: Any) -> Work:
    usual: dict[str, Any] = {"samples": 100, "seed": None, "adaptive": True}
    rule = model.predictor.classifier.rule
    return Work(model, images, **({"rule": rule} | usual | changes))


def run(
    settings: BatchSettings,
    ask: Callable[[Batcher], Coroutine[Any, Any, T]],
    sizes: list[int] | None = None,
) -> T:
    """What ``ask`` gives of a batcher, which is closed after; the batches' ``sizes`` besides."""

    async def main() -> T:
        found = [] if sizes is None else sizes
        batcher = Batcher(settings, observe=lambda images, _: found.append(images))
        try:
            return await asyncio.wait_for(ask(batcher), 20)
        finally:
            await batcher.close()

    return asyncio.run(main())


def assert_same(answers: Sequence[Answer], expected: Decisions) -> None:
    assert len(answers) == len(expected)
    for answer, right in zip(answers, expected, strict=True):
        found = answer.decision
        assert (found.label, found.reason, found.forced, found.proposed, found.samples) == (
            right.label,
            right.reason,
            right.forced,
            right.proposed,
            right.samples,
        )
        assert (found.nearest, found.stage) == (right.nearest, right.stage)
        # A matrix product rounds otherwise for batches of another size, and distances to near
        # neighbours are small differences of large products: a thousandth of the score was seen.
        near = {"unfamiliarity": 0.01, "familiarity": 0.01}
        for name, score in right.scores.items():
            close = pytest.approx(score, abs=2e-5, rel=near.get(name, 1e-4))
            assert found.scores[name] == close, name
        assert found.scores.keys() == right.scores.keys()
        for kind in ("probability", "median"):
            assert getattr(found, kind) == pytest.approx(getattr(right, kind), abs=2e-5, rel=1e-4)


@pytest.mark.parametrize("rule", ["calibrated", "median:0.2", "none"])
@pytest.mark.parametrize("adaptive", [True, False])
def test_answers_are_the_classifiers_whatever_they_are_batched_with(
    classifier: nescio.Classifier, model: Model, images: Tensor, rule: str, *, adaptive: bool
) -> None:
    ruled = classifier.choose_rule(rule)
    sizes = [1, 7, 1, 20, 11]

    async def ask(batcher: Batcher) -> list[list[Answer]]:
        works = [
            work(model, part, rule=ruled, adaptive=adaptive, seed=5) for part in images.split(sizes)
        ]
        return await asyncio.gather(*(batcher.submit(one) for one in works))

    batches: list[int] = []
    found = run(BatchSettings(delay_ms=50, piece=8, max_images=16), ask, batches)
    expected = classifier.decide(images[:, 0], rule=ruled, adaptive=adaptive, seed=5)
    assert_same([answer for answers in found for answer in answers], expected)
    assert max(batches) <= 16
    assert sum(batches) == 40
    assert len(batches) <= 5  # they shared batches: one by one, in pieces, it would be 8


def test_what_does_not_agree_is_answered_apart_and_right(
    classifier: nescio.Classifier, model: Model, images: Tensor
) -> None:
    ways: list[dict[str, Any]] = [{"seed": 1}, {"seed": 2}, {"samples": 13}, {"seed": 1}]

    async def ask(batcher: Batcher) -> list[list[Answer]]:
        works = [work(model, images[:6], **{"adaptive": False, **way}) for way in ways]
        return await asyncio.gather(*(batcher.submit(one) for one in works))

    batches: list[int] = []
    found = run(BatchSettings(delay_ms=50), ask, batches)
    assert sorted(batches) == [6, 6, 12]
    for answers, way in zip(found, ways, strict=True):
        assert_same(answers, classifier.decide(images[:6, 0], **way))


def test_a_detailed_answer(classifier: nescio.Classifier, model: Model, images: Tensor) -> None:
    rule = classifier.choose_rule("0.1:0.5")
    asked = work(model, images, detail=True, seed=3, rule=rule)
    found = run(BatchSettings(), lambda batcher: batcher.submit(asked))
    assert_same(found, classifier.decide(images[:, 0], seed=3, rule=rule))
    adaptive = classifier.decide(images[:, 0], seed=3, adaptive=True, rule=rule).samples
    assert len(adaptive.unique()) > 2
    # The scores are the calibrated rule's, whatever the rule.
    calibrated = classifier.decide(images[:, 0], seed=3, rule="calibrated").verdicts
    sampled = classifier.predict_samples(images[:, 0], seed=3)
    for i, answer in enumerate(found):
        assert answer.detail is not None
        assert answer.detail.settled_after == adaptive[i]
        torch.testing.assert_close(answer.detail.sampled, sampled[:, i])
        assert answer.detail.doubt == pytest.approx(float(calibrated.ambiguity[i]))
        assert answer.detail.unfamiliarity == pytest.approx(float(calibrated.unfamiliarity[i]))
        assert answer.detail.top == classifier.classes[int(calibrated.top[i])]


class Slow:
    """A predictor that takes its time, so that the order of turns can be seen."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked: list[list[int]] = []
        self.threads: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    @property
    def predictor(self) -> "Slow":
        return self

    def stream_decisions(self, images: Tensor, **_: Any) -> Iterator[list[Decision]]:
        self.go.wait(10)
        numbers = images[:, 0, 0, 0].tolist()
        if 255 in numbers:
            raise nescio.DataError("image 255")
        self.asked.append(numbers)
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds * len(numbers))
        yield [
            Decision(None, False, None, str(n), (), {}, {}, {}, samples=1)  # type: ignore[arg-type]
            for n in numbers
        ]


def numbered(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.uint8)[:, None, None, None]


def slow_work(model: Slow, *numbers: int, samples: int = 100) -> Work:
    rule: Rule = nescio.NeverRefuse()
    return Work(model, numbered(*numbers), samples, None, adaptive=True, rule=rule)  # type: ignore[arg-type]


def said(answers: Sequence[Answer]) -> list[int]:
    return [int(answer.decision.forced) for answer in answers]


def test_a_large_work_takes_turns_with_small_ones() -> None:
    model = Slow(seconds=0.001)
    settings = BatchSettings(delay_ms=0, piece=32)

    async def ask(batcher: Batcher) -> tuple[float, float]:
        began = time.monotonic()
        large = asyncio.create_task(batcher.submit(slow_work(model, *range(64), samples=1000)))
        await asyncio.sleep(0.01)
        waits = []
        for number in range(5):
            asked = time.monotonic()
            answers = await batcher.submit(slow_work(model, 100 + number))
            assert said(answers) == [100 + number]
            waits.append(time.monotonic() - asked)
        assert not large.done()
        assert said(await large) == list(range(64))
        return max(waits), time.monotonic() - began

    longest, whole = run(settings, ask)
    # With ten times as many networks a piece is three images: 22 turns.
    assert {len(numbers) for numbers in model.asked if numbers[0] < 100} == {3, 1}
    assert longest < whole / 4


def test_the_event_loop_goes_on_while_a_batch_is_answered() -> None:
    model = Slow()
    model.go.clear()

    async def ask(batcher: Batcher) -> int:
        task = asyncio.create_task(batcher.submit(slow_work(model, 1)))
        for _ in range(5):
            await asyncio.sleep(0.002)
        assert not task.done()
        model.go.set()
        return said(await task)[0]

    assert run(BatchSettings(), ask) == 1
    assert model.threads == {"batcher"}


def test_too_many_waiting_images_are_refused_with_a_time() -> None:
    model = Slow()
    model.go.clear()

    async def ask(batcher: Batcher) -> list[list[Answer]]:
        first = asyncio.create_task(batcher.submit(slow_work(model, 1)))
        await asyncio.sleep(0.02)
        assert batcher.waiting == 0  # it is being answered
        second = asyncio.create_task(batcher.submit(slow_work(model, 2, 3, 4)))
        await asyncio.sleep(0.001)
        with pytest.raises(Busy, match="3 images wait already, of at most 4") as busy:
            await batcher.submit(slow_work(model, 5, 6))
        assert busy.value.retry_after >= 1
        third = asyncio.create_task(batcher.submit(slow_work(model, 7)))
        await asyncio.sleep(0.001)
        assert batcher.waiting == 4
        model.go.set()
        return [await first, await second, await third]

    found = run(BatchSettings(queue_images=4), ask)
    assert [said(answers) for answers in found] == [[1], [2, 3, 4], [7]]


def test_whoever_goes_away_is_dropped_from_the_queue() -> None:
    model = Slow()
    model.go.clear()

    async def ask(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.submit(slow_work(model, 1)))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(batcher.submit(slow_work(model, 2, 3)))
        last = asyncio.create_task(batcher.submit(slow_work(model, 4)))
        await asyncio.sleep(0.002)
        gone.cancel()
        first.cancel()  # it is being answered: nobody is told
        await asyncio.sleep(0.002)
        assert batcher.waiting == 1
        model.go.set()
        assert said(await last) == [4]
        assert gone.cancelled()
        assert first.cancelled()

    run(BatchSettings(), ask)
    assert model.asked == [[1], [4]]


def test_one_that_fails_does_not_spoil_the_others_of_its_batch() -> None:
    model = Slow()

    async def ask(batcher: Batcher) -> list[Any]:
        works = [slow_work(model, 1), slow_work(model, *range(250, 256)), slow_work(model, 2, 3)]
        asked = (batcher.submit(one) for one in works)
        return await asyncio.gather(*asked, return_exceptions=True)

    first, failed, last = run(BatchSettings(delay_ms=50, piece=2), ask)
    assert said(first) == [1]
    assert isinstance(failed, nescio.DataError)
    assert said(last) == [2, 3]


def test_closing_answers_what_waits_and_takes_no_more() -> None:
    model = Slow(seconds=0.002)

    async def ask(batcher: Batcher) -> list[int]:
        task = asyncio.create_task(batcher.submit(slow_work(model, *range(40))))
        await asyncio.sleep(0)
        await batcher.close()
        with pytest.raises(Busy, match="closing"):
            await batcher.submit(slow_work(model, 1))
        return said(await task)

    before = set(threading.enumerate())  # a server of another test may still be there
    assert run(BatchSettings(delay_ms=1000), ask) == list(range(40))
    assert "batcher" not in {thread.name for thread in set(threading.enumerate()) - before}


def test_no_image_needs_no_batch() -> None:
    model = Slow()
    assert run(BatchSettings(), lambda b: b.submit(slow_work(model))) == []
    assert model.asked == []
