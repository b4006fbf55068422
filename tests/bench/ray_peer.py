"""Runs under the peers' interpreter: Ray trains the script named on the command line.

Each line on standard input is answered by the seconds from the call to the first training step:
"fresh" is a task in a process that ends with it, "reused" a call of an actor, whose process stays.
"""

import os
import runpy
import sys
import time

import ray


def first_step(script: str) -> float:
    """When the script took its first step, in seconds since the epoch."""
    return float(runpy.run_path(script)["stepped_at"])


class Trainer:
    def first_step(self, script: str) -> float:
        return first_step(script)


def main() -> None:
    script = sys.argv[1]
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ways = {
        "fresh": ray.remote(max_calls=1)(first_step),
        "reused": ray.remote(Trainer).remote().first_step,
    }
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.time()
        print(ray.get(ways[line.strip()].remote(script)) - began, flush=True)


if __name__ == "__main__":
    main()
