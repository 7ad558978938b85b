"""Compares what ONNX Runtime makes of quantised models with what was computed here.

    onnx_runtime_quantised.py MODEL.onnx ARRAYS.npz [MODEL ARRAYS ...]

Each npz holds in/NAME and out/NAME, scores of classes. Ends with 1 where the checker refuses a model, fewer than 99.9 % of
the answers are the same, or scores lie apart by more than 5 % of the largest anywhere and 0.2 % on average: a runtime that
goes on in integers rounds a few activations to the code beside.
"""

import collections
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime


def run(model, arrays, level):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = level
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        options.optimized_model_filepath = file.name
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        nodes = collections.Counter(node.op_type for node in onnx.load(file.name).graph.node)
    inputs = {name[3:]: arrays[name] for name in arrays if name.startswith("in/")}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs))), nodes


def compare(model, arrays, level):
    onnx.checker.check_model(model, full_check=True)
    outputs, nodes = run(model, arrays, level)
    apart, mean, same = 0.0, 0.0, 1.0
    for name, actual in outputs.items():
        expected = arrays[f"out/{name}"]
        if actual.shape != expected.shape:
            raise ValueError(f"{name} has shape {actual.shape}, expected {expected.shape}")
        difference = np.abs(actual.astype(np.float64) - expected) / max(1e-6, float(np.abs(expected).max()))
        apart, mean = max(apart, float(difference.max())), max(mean, float(difference.mean()))
        same = min(same, float((actual.argmax(-1) == expected.argmax(-1)).mean()))
    return apart, mean, same, nodes


def main(arguments):
    failed = False
    levels = onnxruntime.GraphOptimizationLevel
    for model, path in zip(arguments[::2], arguments[1::2]):
        for name, level in [("as written", levels.ORT_DISABLE_ALL), ("fused", levels.ORT_ENABLE_ALL)]:
            try:
                apart, mean, same, nodes = compare(model, np.load(path), level)
                bad = not (apart <= 0.05 and mean <= 0.002 and same >= 0.999)
                integer = {op: n for op, n in nodes.items() if "Q" in op and "uantizeLinear" not in op}
                print(
                    f"{'FAILED' if bad else 'ok'}: {model} {name}: apart by {apart:.1e}, {mean:.1e} on average, "
                    f"same answer {same:.4f}, integer products {integer}"
                )
            except Exception as error:  # whatever it is, the model does not load or run
                bad = True
                print(f"FAILED: {model} {name}: {error}")
            failed |= bad
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
