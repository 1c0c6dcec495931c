"""What is guaranteed where frames of one group are alike: for new groups, by one frame of each."""

import torch
from scipy import stats

from nescio.data import ImageSet, one_of_each
from nescio.refusal import CalibratedOn, CalibratedRule, CalibrationScores, calibrate

GROUPS, FRAMES, REPEATS = 250, 8, 200
MAX_RISK, CONFIDENCE, MAX_REFUSAL = 0.1, 0.9, 0.1


def draw(groups: int, frames: int, generator: torch.Generator) -> CalibrationScores:
    """Frames of ``groups`` objects: a frame is nearly as strange, doubtful and wrong as another."""
    common = torch.rand(groups, 3, generator=generator)[:, None].expand(-1, frames, -1)
    own = torch.rand(groups, frames, 3, generator=generator)
    doubt, luck, strange = (0.95 * common + 0.05 * own).flatten(0, 1).unbind(-1)
    wrong = luck < 0.25 * doubt
    return CalibrationScores(
        strange[:, None].expand(-1, 2), doubt, wrong.long(), torch.zeros_like(wrong).long()
    )


def rule_of(scores: CalibrationScores) -> CalibratedRule:
    on = CalibratedOn("made", len(scores.doubt), "", "", 1, 0, "float32")
    return calibrate(scores, on, max_refusal=MAX_REFUSAL, max_risk=MAX_RISK, confidence=CONFIDENCE)


def subset(scores: CalibrationScores, index: torch.Tensor) -> CalibrationScores:
    return CalibrationScores(
        scores.unfamiliarity[index], scores.doubt[index], scores.top[index], scores.labels[index]
    )


def test_one_image_of_each_group_keeps_what_counting_images_breaks() -> None:
    generator = torch.Generator().manual_seed(0)
    new = draw(50_000, 1, generator)
    broken = {"groups": 0, "images": 0}
    refused = {"groups": 0.0, "images": 0.0}
    answered = 0
    which = torch.arange(GROUPS).repeat_interleave(FRAMES)
    numbers = torch.arange(GROUPS * FRAMES)
    # The number of each image as four bytes of pixels, so that it is known again.
    pixels = numbers.int().view(torch.uint8).view(-1, 1, 2, 2)
    images = ImageSet("made", pixels, None, (), groups=which)
    for _ in range(REPEATS):
        scores = draw(GROUPS, FRAMES, generator)
        units = one_of_each(images, generator).images[:].flatten(1).contiguous()
        order = torch.randperm(GROUPS, generator=generator)
        some = units.view(torch.int32).flatten().long()[order]
        everything = torch.randperm(GROUPS * FRAMES, generator=generator)
        for how, index in (("groups", some), ("images", everything)):
            rule = rule_of(subset(scores, index))
            passes = new.unfamiliarity[:, 0] <= rule.unfamiliar[0]
            accepted = passes & (new.doubt <= rule.doubtful[0])
            wrong = (new.top != new.labels)[accepted]
            broken[how] += bool(len(wrong)) and float(wrong.double().mean()) > MAX_RISK
            refused[how] += 1 - float(passes.double().mean())
            answered += how == "groups" and bool(len(wrong))
    test = stats.binomtest(broken["groups"], REPEATS, 1 - CONFIDENCE, alternative="greater")
    assert test.pvalue > 0.01
    # Of eight frames that are nearly one, each counts for itself: a risk that is not kept.
    assert broken["images"] > 0.2 * REPEATS
    assert answered > 0.5 * REPEATS
    assert refused["groups"] / REPEATS < MAX_REFUSAL + 0.005


def test_a_rule_says_what_was_counted() -> None:
    scores = draw(200, 1, torch.Generator().manual_seed(1))
    on = CalibratedOn("made", 200, "", "", 1, 0, "float32", grouped=True)
    rule = calibrate(scores, on, max_refusal=0.1, max_risk=0.2, confidence=0.5)
    text = rule.describe()
    assert "its 200 calibration groups allow" in text
    assert "calibration groups accepted" in text
    assert "for an image drawn from a new group" in text
    assert CalibratedRule.from_json(rule.to_json()) == rule
    assert rule.to_json()["assumption"] in text
    old = rule.to_json()
    del old["calibrated_on"]["grouped"]  # as models before groups have it
    assert not CalibratedRule.from_json(old).calibrated_on.grouped
