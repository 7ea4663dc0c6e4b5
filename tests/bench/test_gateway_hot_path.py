from bench.gateway_hot_path import RATIO_MAX, measure


def test_the_hot_path_costs_few_bare_echos() -> None:
    best = min(measure(rounds=1, requests=3_200)["ratio"] for _ in range(3))
    assert best < RATIO_MAX
