#!/usr/bin/env python3
"""The training step of benches/train_step.rs beside PyTorch's, in turn, on two threads each; only ratios carry.

    cargo bench --bench train_step --no-run         # prints where the executable lies
    python3 benches/beside_pytorch.py EXECUTABLE [ROUNDS]

Needs PyTorch. Same networks, batch of 128 and plain SGD; runs alternate, each in a process of its own.
"""
import re
import statistics
import subprocess
import sys
import time

THREADS, BATCH, STEPS, WARM_UP = 2, 128, 20, 3
NETS = ["mlp-300-100", "lenet-5", "resnet-8", "bundled-resnet-8"]


def build(name):
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
            same = stride == 1 and inputs == outputs
            self.shortcut = nn.Identity() if same else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.body(x) + self.shortcut(x))

    class Separable(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
                nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

        def forward(self, x):
            return torch.relu(self.body(x) + x)

    if name == "bundled-resnet-8":
        return nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Separable(16),
                             Block(16, 48, 2), Block(48, 96, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))
    if name == "mlp-300-100":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    if name == "lenet-5":
        return nn.Sequential(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
                             nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))
    return nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Block(16, 16, 1),
                         Block(16, 32, 2), Block(32, 64, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def time_pytorch(name):
    import torch
    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    net = build(name).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    x, y = torch.rand(BATCH, 1, 28, 28), torch.arange(BATCH) * 7 % 10
    times = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        times.append((time.perf_counter() - start) * 1e3)
    print(f"{torch.__version__} step {statistics.median(times[WARM_UP:]):.3f}")


def run(command):
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return output.split()[0], float(re.search(r"step +([0-9.]+)", output).group(1))


def main():
    executable, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    for name in NETS:
        ours, theirs, version = [], [], ""
        for _ in range(rounds):
            ours.append(run([executable, name, str(THREADS)])[1])
            version, milliseconds = run([sys.executable, __file__, "--pytorch", name])
            theirs.append(milliseconds)
        a, b = statistics.median(ours), statistics.median(theirs)
        each = " ".join(f"{o / t:.2f}" for o, t in zip(ours, theirs))
        print(f"{name:<16} secateur {a:8.2f} ms, PyTorch {version} {b:8.2f} ms: {a / b:.2f} x (each round {each})", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--pytorch"]:
        time_pytorch(sys.argv[2])
    else:
        main()
