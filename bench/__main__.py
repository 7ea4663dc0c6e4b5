"""``python -m bench [NAME …] [--quick]``: runs benchmarks and writes ``bench/results/``."""

import argparse
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import bench

_NOT_BENCHMARKS = {"__main__", "load", "record", "serving_features", "serving_model"}


def main() -> None:
    """Run the named benchmarks, or list what there is. A benchmark has ``main(quick: bool)``."""
    found = {
        module.name: f"bench.{module.name}"
        for module in pkgutil.iter_modules([str(Path(bench.__file__).parent)])
        if module.name not in _NOT_BENCHMARKS and not module.ispkg
    }
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"among: {', '.join(sorted(found))}")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--all", action="store_true", help="every benchmark, one after another")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in found]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(sorted(found))}")
    names = sorted(found) if arguments.all else arguments.names
    if not names:
        parser.print_help()
        sys.exit(0)
    for name in names:
        print(f"== {name}", flush=True)
        import_module(found[name]).main(quick=arguments.quick)


if __name__ == "__main__":
    main()
