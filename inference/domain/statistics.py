"""The statistics extension of the Open Inference Protocol."""

from typing import Any

from contracts.served import OUTCOMES
from inference.domain.fleet import LoadedVersion
from inference.domain.tally import Tally


def statistics_of(loaded: LoadedVersion) -> dict[str, Any]:
    """One entry of ``model_stats``: counts, and durations in nanoseconds."""
    tally = loaded.tally
    fine = tally.requests.get("ok", 0)
    failed = sum(tally.requests.values()) - fine
    runs = sum(tally.stages["compute"].counts)

    def spent(stage: str) -> dict[str, int]:
        histogram = tally.stages[stage]
        return {"count": sum(histogram.counts), "ns": round(histogram.total * 1e9)}

    def other(count: int, ns: int) -> dict[str, int]:
        return {"count": count, "ns": ns}

    return {
        "name": loaded.model,
        "version": loaded.version,
        "last_inference": tally.last_inference_us // 1000,
        "inference_count": tally.rows[OUTCOMES.index("ok")],
        "execution_count": runs,
        "inference_stats": {
            "success": other(fine, _total_ns(tally)),
            "fail": other(failed, 0),
            "queue": spent("queue"),
            "compute_input": other(runs, tally.raw_parse_ns + spent("features")["ns"]),
            "compute_infer": spent("compute"),
            "compute_output": other(runs, tally.raw_format_ns + spent("post_processing")["ns"]),
            "cache_hit": other(tally.cache["hit"], 0),
            "cache_miss": other(tally.cache["miss"], 0),
        },
        "batch_stats": [],
    }


def _total_ns(tally: Tally) -> int:
    stages = sum(histogram.total for histogram in tally.stages.values())
    return round(stages * 1e9) + tally.raw_parse_ns + tally.raw_format_ns
