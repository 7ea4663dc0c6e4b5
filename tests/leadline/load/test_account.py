from leadline.load.account import (
    Part,
    Process,
    began_anew,
    bottleneck,
    parts_of,
    processes_of,
    read_sample,
    rows_per_batch,
)

BEFORE = """
gateway_predict_seconds_count 10
gateway_predict_seconds_sum 1.0
inference_batch_rows_count 5
inference_batch_rows_sum 5
"""
AFTER = """
gateway_predict_seconds_count 20
gateway_predict_seconds_sum 1.1
gateway_upstream_seconds_count 10
gateway_upstream_seconds_sum 0.06
inference_request_duration_seconds_count{model="a",version="1"} 10
inference_request_duration_seconds_sum{model="a",version="1"} 0.04
inference_stage_duration_seconds_count{model="a",version="1",stage="compute"} 5
inference_stage_duration_seconds_sum{model="a",version="1",stage="compute"} 0.01
inference_batch_rows_count 10
inference_batch_rows_sum 25
"""


def test_the_parts_add_up_to_what_the_caller_saw() -> None:
    before, after = read_sample([BEFORE]), read_sample([AFTER])
    parts = {part.name: part.ms for part in parts_of(before, after, 12.0)}
    assert abs(sum(parts.values()) - 12.0) < 1e-9
    assert abs(parts["network and client"] - 2.0) < 1e-9
    assert abs(parts["gateway: key, limit, envelope"] - 4.0) < 1e-9
    assert abs(parts["inference: compute"] - 2.0) < 1e-9
    assert rows_per_batch(before, after) == 4


def test_a_refusal_takes_no_share_of_the_hops() -> None:
    refused = AFTER.replace("gateway_predict_seconds_count 20", "gateway_predict_seconds_count 30")
    parts = {
        part.name: part.ms for part in parts_of(read_sample([BEFORE]), read_sample([refused]), 12.0)
    }
    assert abs(parts["gateway: key, limit, envelope"] - 2.0) < 1e-9
    assert abs(sum(parts.values()) - 12.0) < 1e-9


def test_counters_that_stand_still_are_no_error() -> None:
    sample = read_sample([AFTER])
    assert rows_per_batch(sample, sample) == 0
    assert parts_of(sample, sample, 1.0)[0].ms == 1.0


def test_the_bottleneck_is_what_is_full() -> None:
    parts = [Part("inference: compute", 3.0), Part("network and client", 1.0)]
    busy = [Process("gateway", 0.97, 30.0), Process("inference", 0.5, 15.0)]
    assert "gateway process" in bottleneck(busy, parts, 0.7, cores=2, kept_up=False)
    assert "none" in bottleneck(busy, parts, 0.7, cores=2, kept_up=True)
    client = [Process("load generator", 0.99, 30.0), *busy]
    assert "load generator" in bottleneck(client, parts, 0.7, cores=2, kept_up=False)
    spread = [Process("inference", 0.8, 15.0), Process("gateway", 0.7, 12.0)]
    assert "processors" in bottleneck(spread, parts, 0.99, cores=2, kept_up=False)
    assert "compute" in bottleneck(spread, parts, 0.6, cores=2, kept_up=False)


def test_too_few_connections_of_the_command_are_told() -> None:
    idle, parts = [Process("gateway", 0.2, 12.0)], [Part("network and client", 470.0)]
    said = bottleneck(idle, parts, 0.5, cores=2, kept_up=False, late_share=0.97)
    assert said.startswith("the connections of this command: 97%")
    said = bottleneck(idle, parts, 0.5, cores=2, kept_up=False, late_share=0.2)
    assert "network and client" in said


def test_a_counter_that_fell_is_of_a_process_that_began_anew() -> None:
    before, after = read_sample([BEFORE]), read_sample([AFTER])
    assert began_anew(after, before)
    assert not began_anew(before, after)
    assert not began_anew(after, {})  # a version that is not served any more


def test_a_machine_that_others_keep_busy_is_told() -> None:
    little = [Process("inference", 0.3, 15.0), Process("gateway", 0.2, 12.0)]
    assert "other programs" in bottleneck(little, [], 0.99, cores=2, kept_up=False)


def test_processor_time_is_shared_out_over_requests() -> None:
    found = processes_of({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 4.0}, 10.0, 1000)
    assert [process.name for process in found] == ["b", "a"]
    assert found[0].cores == 0.3
    assert found[0].us_per_request == 3000
