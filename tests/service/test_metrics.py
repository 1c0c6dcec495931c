"""What the service counts, in one process."""

from nescio.service.metrics import METHODS, ROUTES, Metrics


def figures(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_nothing_that_a_client_made_up_becomes_a_label() -> None:
    metrics = Metrics()
    before = len(figures(metrics))
    for i in range(50):
        metrics.began()
        metrics.ended(f"BREW{i}", f"/{i}", 404, 0.01)
    text = metrics.render().decode()
    assert 'nescio_requests_total{method="other",route="other",status="404"} 50.0' in text
    # One count, and a histogram for one route.
    assert len(figures(metrics)) == before + 1 + 13 + 2


def test_the_service_s_own_paths_are_told_apart() -> None:
    metrics = Metrics()
    for path in sorted(ROUTES):
        for method in sorted(METHODS):
            metrics.began()
            metrics.ended(method, path, 200, 0.3)
    metrics.began()
    metrics.ended("GET", "/page/page.js", 200, 0.001)
    found = figures(metrics)
    for path in ROUTES:
        assert found[f'nescio_requests_total{{method="GET",route="{path}",status="200"}}'] == 1
        assert found[f'nescio_request_seconds_count{{route="{path}"}}'] == len(METHODS)
        assert found[f'nescio_request_seconds_bucket{{le="0.2",route="{path}"}}'] == 0
        assert found[f'nescio_request_seconds_bucket{{le="0.5",route="{path}"}}'] == len(METHODS)
    assert found['nescio_requests_total{method="GET",route="/page/",status="200"}'] == 1
    assert found["nescio_requests_under_way"] == 0


def test_refusals_are_counted_by_limit() -> None:
    metrics = Metrics()
    for status in (200, 404, 413, 413, 422, 429, 503, 504, 408):
        metrics.began()
        metrics.ended("POST", "/v1/predict", status, 0.01)
    found = figures(metrics)
    counts = {"size": 2, "rate": 1, "busy": 1, "seconds": 2}
    for limit, count in counts.items():
        assert found[f'nescio_refused_requests_total{{limit="{limit}"}}'] == count


def test_images_networks_batches_and_loads() -> None:
    metrics = Metrics()
    metrics.image(None, 20)
    metrics.image("ambiguous", 100)
    metrics.image("unfamiliar", 10)
    metrics.batch(3)
    metrics.queue(7)
    metrics.loaded(2, failed=1)
    found = figures(metrics)
    for verdict in ("accepted", "ambiguous", "unfamiliar"):
        assert found[f'nescio_images_total{{verdict="{verdict}"}}'] == 1
    assert found["nescio_networks_sampled_sum"] == 130
    assert found["nescio_batch_images_sum"] == 3
    assert found["nescio_queue_images"] == 7
    assert found['nescio_model_loads_total{outcome="loaded"}'] == 2
    assert found['nescio_model_loads_total{outcome="failed"}'] == 1


def test_two_services_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.image(None, 20)
    assert figures(other)['nescio_images_total{verdict="accepted"}'] == 0
