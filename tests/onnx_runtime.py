"""Compares what ONNX Runtime computes for saved models with what was computed here.

    onnx_runtime.py MODEL.onnx ARRAYS.npz [MODEL ARRAYS ...]

Each npz holds in/NAME and out/NAME. Ends with 1 where the checker refuses a model, a name is missing or a
value is off by more than 1e-4 of the largest one.
"""

import sys

import numpy as np
import onnx
import onnxruntime


def compare(model, arrays):
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = {name[3:]: arrays[name] for name in arrays if name.startswith("in/")}
    names = [output.name for output in session.get_outputs()]
    worst = 0.0
    for name, actual in zip(names, session.run(names, inputs)):
        expected = arrays[f"out/{name}"]
        if actual.shape != expected.shape:
            raise ValueError(f"{name} has shape {actual.shape}, expected {expected.shape}")
        scale = max(1e-6, float(np.abs(expected).max(initial=0)))
        worst = max(worst, float(np.abs(actual.astype(np.float64) - expected).max(initial=0)) / scale)
    return worst


def main(arguments):
    failed = False
    for model, path in zip(arguments[::2], arguments[1::2]):
        try:
            worst = compare(model, np.load(path))
            bad = not worst <= 1e-4
            print(f"{'FAILED' if bad else 'ok'}: {model}: largest difference {worst:.1e}")
        except Exception as error:  # whatever it is, the model does not load or run
            bad = True
            print(f"FAILED: {model}: {error}")
        failed |= bad
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
