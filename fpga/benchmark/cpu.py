"""The same attention on this machine's processor, in float and in 8 bits, by ONNX Runtime's kernels."""

import dataclasses
import importlib.util
import os
import time

import numpy as np

from latte.golden import distribution
from latte.golden.errors import LatteError
from latte.golden.quantizer import softmax_scale
from latte.golden.vectors import VectorSet

__all__ = ["CpuTime", "measure_cpu"]

_OPSET, _IR_VERSION = 21, 10
_WEIGHT_STEPS = 255
_LEAST_SECONDS = 1.0
_MASKED = -1e9


@dataclasses.dataclass(frozen=True)
class CpuTime:
    """Shortest time of dense attention of all heads of a vector set.

    Parameters
    ----------
    float_seconds, int8_seconds
    threads
    relative_rms
        Of the 8-bit result against the float one: both compute the same.
    """

    float_seconds: float
    int8_seconds: float
    threads: int
    relative_rms: float


def measure_cpu(vectors: VectorSet) -> CpuTime:
    """Time dense attention over all heads at once: one batched product for scores, softmax, one for the values.

    Keys are handed over transposed, which favours the processor.

    Raises
    ------
    LatteError
        ONNX Runtime is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("onnx") is None:
        raise LatteError("the processor's side of the benchmark needs ONNX Runtime; it comes with: "
                         f"{distribution.install_command('bench')}")
    heads, keys, d = vectors.q.shape
    scale = np.array([softmax_scale(q, k, d) / np.log2(np.e) for q, k in
                      zip(vectors.q_scale, vectors.k_scale, strict=True)], np.float32).reshape(heads, 1, 1)
    mask = np.where(np.tri(keys, dtype=bool) | (not vectors.causal), 0, _MASKED).astype(np.float32)
    integers = {"q": vectors.q, "k": np.ascontiguousarray(vectors.k.transpose(0, 2, 1)), "v": vectors.v}
    floats = {name: rows.astype(np.float32) for name, rows in integers.items()}
    constants = {"scale": scale, "mask": mask}
    float_seconds, exact = _time(_graph(heads, keys, d, constants, integer=False), floats)
    int8_seconds, rounded = _time(_graph(heads, keys, d, constants, integer=True), integers)
    rms = float(np.sqrt(np.mean((rounded - exact) ** 2) / np.mean(exact ** 2)))
    return CpuTime(float_seconds, int8_seconds, os.cpu_count() or 1, rms)


def _graph(heads: int, keys: int, d: int, constants: dict[str, np.ndarray], *, integer: bool) -> bytes:
    """Return attention as an ONNX model; inputs q [H, n, d], k [H, d, n], v [H, n, d], output o [H, n, d]."""
    from onnx import TensorProto, helper, numpy_helper

    kind = TensorProto.INT8 if integer else TensorProto.FLOAT
    shapes = {"q": [heads, keys, d], "k": [heads, d, keys], "v": [heads, keys, d]}
    nodes = []

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    if integer:
        constants = constants | {"step": np.array(1 / _WEIGHT_STEPS, np.float32), "zero": np.array(0, np.uint8)}
        scores = node("Cast", [node("MatMulInteger", ["q", "k"], "sums")], "scores", to=TensorProto.FLOAT)
    else:
        scores = node("MatMul", ["q", "k"], "scores")
    masked = node("Add", [node("Mul", [scores, "scale"], "scaled"), "mask"], "masked")
    weights = node("Softmax", [masked], "weights", axis=-1)
    if integer:
        steps = node("QuantizeLinear", [weights, "step", "zero"], "steps")
        values = node("Cast", [node("MatMulInteger", [steps, "v"], "accumulated")], "values", to=TensorProto.FLOAT)
        node("Mul", [values, "step"], "o")
    else:
        node("MatMul", [weights, "v"], "o")
    graph = helper.make_graph(
        nodes, "attention", [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, shapes["q"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)],
                             ir_version=_IR_VERSION).SerializeToString()


def _time(model: bytes, inputs: dict[str, np.ndarray]) -> tuple[float, np.ndarray]:
    """Return (seconds of the fastest run, output): other programs can only make a run longer."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    output = session.run(None, inputs)[0]
    seconds: list[float] = []
    while sum(seconds) < _LEAST_SECONDS or len(seconds) < 5:
        started = time.perf_counter()
        session.run(None, inputs)
        seconds.append(time.perf_counter() - started)
    return min(seconds), output
