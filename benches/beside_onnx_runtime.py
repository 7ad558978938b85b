#!/usr/bin/env python3
"""Times an ONNX file in ONNX Runtime and in Secateur in turn, on two threads, and compares the memory they need.

    pip install numpy onnxruntime
    cargo build --release
    python3 benches/beside_onnx_runtime.py MODEL.onnx:BATCH ...

Each round measures one and then the other, so that a busy moment of the machine hits both; the ratio is that of the
medians over all rounds. Memory is what a process of its own grows to beyond its size before it opens the model.
"""
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

BINARY = pathlib.Path(__file__).resolve().parent.parent / "target/release/secateur"
ROUNDS, THREADS = 5, 2


def session(path, batch):
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    model = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = model.get_inputs()[0]
    shape = [batch] + [d if isinstance(d, int) else 224 for d in given.shape[1:]]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return lambda: model.run(None, {given.name: x})


def milliseconds(run, runs):
    times = []
    for _ in range(3 + runs):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times[3:]


def ours(path, batch, runs):
    command = [BINARY, "bench", path, "--batch", batch, "--runs", runs, "--threads", THREADS, "--json"]
    printed = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    return json.loads(printed)["median_ms"]


def high_water():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def largest_child():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def memory(path, batch):
    """Peak memory of both beyond their start, in MB, each in a process of its own."""
    theirs = subprocess.run([sys.executable, __file__, "--theirs", path, str(batch)], check=True, capture_output=True, text=True)
    mine = subprocess.run([sys.executable, __file__, "--ours", path, str(batch)], check=True, capture_output=True, text=True)
    return float(theirs.stdout), float(mine.stdout)


def main():
    if sys.argv[1] == "--theirs":
        import numpy, onnxruntime  # noqa: F401, E401  (so that they count as the start)

        start = high_water()
        run = session(sys.argv[2], int(sys.argv[3]))
        for _ in range(5):
            run()
        print(high_water() - start)
        return
    if sys.argv[1] == "--ours":
        subprocess.run([BINARY, "--version"], check=True, stdout=subprocess.DEVNULL)
        start = largest_child()
        ours(sys.argv[2], sys.argv[3], runs=5)
        print(largest_child() - start)
        return
    print(f"{'model':<42}{'batch':>6}{'Secateur':>12}{'ONNX Runtime':>14}{'ratio':>8}{'memory':>20}{'ratio':>8}")
    for argument in sys.argv[1:]:
        path, batch = argument.rsplit(":", 1)
        other, used = memory(path, batch)
        run, mine, theirs = session(path, int(batch)), [], []
        # Half a second in each turn, so that cores are awake for the most part of it.
        runs = max(11, int(500 / statistics.median(milliseconds(run, 5))))
        for _ in range(ROUNDS):
            theirs += milliseconds(run, runs)
            mine.append(ours(path, batch, runs))
        a, b = statistics.median(mine), statistics.median(theirs)
        sizes = f"{used:.0f} of {other:.0f} MB"
        print(f"{pathlib.Path(path).name:<42}{batch:>6}{a:>9.2f} ms{b:>11.2f} ms{a / b:>8.2f}{sizes:>20}{used / other:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
