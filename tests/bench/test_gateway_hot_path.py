import statistics

from bench.gateway_hot_path import CALM_MAX, RATIO_ASGI_MAX, RATIO_MAX, measure


def test_the_hot_path_costs_few_bare_echos() -> None:
    tries = [measure(rounds=1, requests=3_200) for _ in range(5)]
    assert min(one["ratio_asgi"] for one in tries) < RATIO_ASGI_MAX
    if statistics.median(one["asgi_us"] / one["echo_us"] for one in tries) <= CALM_MAX:
        assert min(one["ratio"] for one in tries) < RATIO_MAX
