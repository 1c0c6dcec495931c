"""What programs ask and get: the contract's JSON, for every form of request."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from asking import asking, base64_of, models_of, png
from starlette.testclient import TestClient
from tests_support import SIDE, stripes

import nescio
from nescio.data import ImageSet, adapt, as_images
from nescio.service.app import create_app
from nescio.service.wire import ModelOut

IMAGES = stripes(6, 5).images[:, 0].numpy()
STRANGE = np.full((SIDE, SIDE), 255, np.uint8)


@pytest.fixture(scope="module")
def client(classifier: nescio.Classifier) -> Iterator[TestClient]:
    with asking(create_app(models_of(classifier, "stripes", "again"))) as client:
        yield client


def expected(classifier: nescio.Classifier, images: Any, **how: Any) -> list[dict[str, Any]]:
    how = {"samples": 20, "adaptive": True} | how
    return [decision.to_json() for decision in classifier.decide(images, **how)]


def post_json(client: TestClient, images: list[dict[str, Any]], **asked: Any) -> Any:
    answer = client.post("/v1/predict", json={"images": images, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def same(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Equal, but for the last digit of what is computed in batches of another size."""
    for group in ("probability", "median", "scores"):
        assert got[group] == pytest.approx(wanted[group], rel=1e-4, abs=1e-6)
    rest = {"image", "probability", "median", "scores", "detail"}
    assert {k: v for k, v in got.items() if k not in rest} == {
        k: v for k, v in wanted.items() if k not in rest
    }


def test_numbers_in_json_are_answered_as_the_classifier_does(
    client: TestClient, classifier: nescio.Classifier
) -> None:
    both = np.concatenate([IMAGES, STRANGE[None]])
    answer = post_json(client, [{"pixels": image.tolist()} for image in both])
    assert answer["model"] == "stripes"
    assert [p["image"] for p in answer["predictions"]] == [str(i) for i in range(7)]
    for got, wanted in zip(answer["predictions"], expected(classifier, both), strict=True):
        same(got, wanted)
    accepted = [p["accepted"] for p in answer["predictions"]]
    assert accepted[:6].count(True) >= 5
    assert not accepted[6]
    assert answer["predictions"][6]["reason"] == "unfamiliar"


def test_every_form_of_one_image_gives_one_answer(client: TestClient) -> None:
    image, file = IMAGES[0], png(IMAGES[0])
    answers = post_json(
        client,
        [
            {"pixels": image.tolist()},
            {"pixels": (image / 255).tolist()},
            {"pixels": np.repeat(image[..., None], 3, -1).tolist()},
            {"base64": base64_of(file)},
            {"base64": base64.encodebytes(file).decode()},
            {"base64": "data:image/png;base64," + base64_of(file)},
            {"base64": base64_of(png(image, "BMP"))},
            {"base64": base64_of(png(image, "WEBP", lossless=True))},
        ],
    )["predictions"]
    raw = client.post("/v1/predict", content=file, headers={"Content-Type": "image/png"}).json()
    form = client.post("/v1/predict", files={"any": ("0", file)}).json()
    answers += [*raw["predictions"], *form["predictions"]]
    assert len(answers) == 10
    for answer in answers[1:]:
        same(answer, answers[0])


def test_an_upload_of_many_files_keeps_their_order_and_names(client: TestClient) -> None:
    names = ["b.png", "../../etc/passwd", "a\r\nX-Evil: 1.png", "umlaut ä.png", "b.png"]
    files = [("file", (name, png(IMAGES[i]))) for i, name in enumerate(names)]
    answer = client.post("/v1/predict", files=files)
    assert answer.status_code == 200
    told = [p["image"] for p in answer.json()["predictions"]]
    assert told[0] == told[4] == "b.png"
    assert told[1] == "../../etc/passwd"  # the client's own word, never a path of ours
    assert told[3] == "umlaut ä.png"
    assert "x-evil" not in answer.headers
    labels = [p["probability"] for p in answer.json()["predictions"]]
    assert labels[0] != labels[1]


def test_given_names_stand_in_the_answer(client: TestClient) -> None:
    pixels = IMAGES[0].tolist()
    answer = post_json(client, [{"pixels": pixels, "name": "first"}, {"pixels": pixels}])
    assert [p["image"] for p in answer["predictions"]] == ["first", "1"]


def test_the_readable_among_unreadable_images_are_answered(client: TestClient) -> None:
    files = [
        ("f", ("one.png", png(IMAGES[0]))),
        ("f", ("bad.png", b"\x89PNG\r\n\x1a\nrubbish")),
        ("f", ("empty.png", b"")),
        ("f", ("two.png", png(IMAGES[1]))),
    ]
    answer = client.post("/v1/predict", files=files)
    assert answer.status_code == 200
    one, bad, empty, two = answer.json()["predictions"]
    assert one["label"] is not None or one["reason"]
    assert two["image"] == "two.png"
    assert set(bad) == set(empty) == {"image", "error"}
    assert "read are PNG" in bad["error"]
    assert empty["error"] == "the file is empty"


def test_parameters_count_wherever_they_stand(
    client: TestClient, classifier: nescio.Classifier
) -> None:
    file, image = png(IMAGES[2]), IMAGES[2:3]
    wanted = expected(classifier, image, samples=7, seed=3, rule="median:0.2")[0]
    form = {"samples": "7", "seed": "3", "rule": "median:0.2"}
    answers = [
        client.post("/v1/predict?samples=7&seed=3&rule=median:0.2", files={"f": ("0", file)}),
        client.post("/v1/predict", files={"f": ("0", file)}, data=form),
        client.post(
            "/v1/predict",
            params=form,
            content=file,
            headers={"Content-Type": "image/png; charset=binary"},
        ),
        client.post(
            "/v1/predict?samples=50",  # the body's word counts more
            json={"images": [{"pixels": image[0].tolist()}], **form, "samples": 7, "seed": 3},
        ),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        same(answer.json()["predictions"][0], wanted)


def test_samples_are_all_drawn_where_that_is_asked(client: TestClient) -> None:
    # A strange image: whatever networks say, it is refused.
    images = [{"pixels": STRANGE.tolist()}]
    few = post_json(client, images, samples=200)["predictions"][0]
    all_ = post_json(client, images, samples=200, adaptive=False)["predictions"][0]
    assert few["samples"] < all_["samples"] == 200


def test_promises_are_told_not_to_cover_other_samples_or_seeds(client: TestClient) -> None:
    images = [{"pixels": IMAGES[0].tolist()}]
    assert post_json(client, images)["notes"] == []
    assert post_json(client, images, samples=20, seed=0)["notes"] == []
    fewer, other = post_json(client, images, samples=5, seed=1)["notes"]
    assert "samples 20, not 5" in fewer
    assert "seed 0, not 1" in other
    assert post_json(client, images, samples=5, rule="median:0.2")["notes"] == []


def test_another_model_is_asked_by_its_name(client: TestClient) -> None:
    answer = client.post(
        "/v1/predict?model=again", content=png(IMAGES[0]), headers={"Content-Type": "image/png"}
    )
    assert answer.json()["model"] == "again"


def test_detail_tells_what_the_networks_say_and_see(
    client: TestClient, classifier: nescio.Classifier
) -> None:
    large = np.kron(IMAGES[1], np.ones((3, 2), np.uint8))
    got = post_json(client, [{"pixels": large.tolist()}], samples=30, detail=True)
    prediction = got["predictions"][0]
    assert prediction["samples"] == 30
    detail = prediction["detail"]
    seen = adapt(as_images(large), classifier.preprocessing)
    image = ImageSet("", seen, None, ())
    sampled = classifier.predict_samples(image, samples=30)[:, 0]
    assert torch.tensor(detail["sampled"]).sub(sampled).abs().max() < 6e-5
    assert base64.b64decode(detail["input"]["pixels"]) == seen.numpy().tobytes()
    assert {k: detail["input"][k] for k in ("width", "height", "channels")} == {
        "width": SIDE, "height": SIDE, "channels": 1,
    }  # fmt: skip
    adaptive = classifier.decide(image, samples=30, adaptive=True)[0]
    assert detail["settled_after"] == adaptive.samples
    decision = classifier.decide(image, samples=30)
    assert detail["top"] == classifier.classes[int(decision.verdicts.top[0])]
    assert detail["doubt"] == pytest.approx(float(decision.verdicts.ambiguity[0]), rel=1e-3)
    assert detail["unfamiliarity"] == pytest.approx(decision[0].scores["unfamiliarity"], rel=1e-3)


def test_a_model_tells_what_it_knows(client: TestClient, classifier: nescio.Classifier) -> None:
    told = client.get("/v1/model").json()
    assert told["name"] == "stripes"
    assert told["classes"] == ["left", "right", "top"]
    assert told["preprocessing"]["height"] == SIDE
    assert told["network"] == "mlp"
    assert told["rule"] == {
        **json.loads(json.dumps(classifier.rule.to_json())),
        "description": classifier.rule.describe(),
    }
    assert told["samples"] == 20  # as many as it was calibrated with
    assert told["limits"]["images"] == 64
    assert told["trained_on"] == "stripes"
    assert told["training_images"] == classifier.record.train_images
    assert told["reference"] == sorted(told["reference"])
    assert 1 < len(told["reference"]) <= 512
    assert told["promises"] == [row.to_json() for row in classifier.promises()]
    ModelOut.model_validate(told, strict=True)
    assert client.get("/v1/model?model=again").json()["name"] == "again"
    assert client.get("/v1/models").json() == {"default": "stripes", "models": ["stripes", "again"]}


def test_a_model_that_does_not_know_what_it_could_promise(classifier: nescio.Classifier) -> None:
    with asking(create_app(models_of(replace(classifier, kept=None), "stripes"))) as client:
        assert client.get("/v1/model").json()["promises"] is None


def test_nothing_tells_of_versions(client: TestClient) -> None:
    for path in ("/v1/model", "/openapi.json", "/healthz"):
        answer = client.get(path)
        assert nescio.__version__ not in answer.text.replace('"3.1.0"', "")
        assert "server" not in answer.headers


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    service = client.app.state.service  # type: ignore[attr-defined]
    service.draining.set()
    try:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200
    finally:
        service.draining.clear()
