"""The stages and nothing else: a loop on each of some threads, for as long as told; prints what it came to as JSON."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages import only_model


def main() -> None:
    """Warms up, and measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    detect, data = only_model(arguments.repository), arguments.picture.read_bytes()

    def look(until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            detect(data)
            count += 1
        return count

    with ThreadPoolExecutor(arguments.threads) as threads:
        list(threads.map(look, [time.perf_counter() + 1] * arguments.threads))
        began, cpu_s = time.perf_counter(), time.process_time()
        count = sum(threads.map(look, [began + arguments.seconds] * arguments.threads))
        elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    print(json.dumps({"pictures_per_s": count / elapsed_s, "cpu_ms": cpu_s / count * 1e3}))


if __name__ == "__main__":
    main()
