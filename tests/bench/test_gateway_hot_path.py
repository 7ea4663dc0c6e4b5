from bench.gateway_hot_path import RATIO_ASGI_MAX, RATIO_MAX, measure


def test_the_hot_path_costs_few_bare_echos() -> None:
    tries = [measure(rounds=1, requests=3_200) for _ in range(5)]
    echos = min(one["ratio"] for one in tries)
    asgi_apps = min(one["ratio_asgi"] for one in tries)
    assert echos < RATIO_MAX or asgi_apps < RATIO_ASGI_MAX
