"""The libraries of the comparison: each a function of one array that returns what to time.

A library that is not installed is left out. Each writes into memory that it keeps, if it can; that it
may allocate its result is part of what it is. The arrays are NumPy's, (N, C, L), float32.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import tempfile

EPS = 1e-5


def instnorm(x, threads):
    import instnorm
    import numpy

    instnorm.set_num_threads(threads)
    y = numpy.empty_like(x)
    return instnorm.__version__, lambda: instnorm.instance_norm(x, eps=EPS, out=y)


def _torch(x, threads):
    import torch

    torch.set_num_threads(threads)
    return torch, torch.from_numpy(x)


def _inference(torch, call):
    def once():
        with torch.inference_mode():
            return call()

    return torch.__version__, once


def torch_instance_norm(x, threads):
    torch, t = _torch(x, threads)
    return _inference(torch, lambda: torch.nn.functional.instance_norm(t, eps=EPS))


def torch_group_norm(x, threads):
    torch, t = _torch(x, threads)
    return _inference(torch, lambda: torch.nn.functional.group_norm(t, t.shape[1], eps=EPS))


def torch_compile(x, threads):
    torch, t = _torch(x, threads)
    compiled = torch.compile(lambda v: torch.nn.functional.instance_norm(v, eps=EPS), dynamic=False)
    return _inference(torch, lambda: compiled(t))


def _onnx_model(shape):
    import onnx

    C = shape[1]
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("InstanceNormalization", ["x", "scale", "B"], ["y"], epsilon=EPS)], "norm",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        [helper.make_tensor("scale", kind, [C], [1.0] * C), helper.make_tensor("B", kind, [C], [0.0] * C)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnxruntime(x, threads):
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(_onnx_model(x.shape).SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    y = numpy.empty_like(x)
    binding = session.io_binding()
    for bind, name, array in ((binding.bind_input, "x", x), (binding.bind_output, "y", y)):
        bind(name, "cpu", 0, numpy.float32, array.shape, array.ctypes.data)
    # The binding knows addresses only.
    return onnxruntime.__version__, lambda keep=(x, y): session.run_with_iobinding(binding)


def openvino(x, threads):
    import onnx
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "norm.onnx")
        onnx.save(_onnx_model(x.shape), path)
        compiled = openvino.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": threads,
                                                        "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    return openvino.__version__, lambda keep=x: request.infer()


def jax(x, threads):
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    def norm(v):
        mean = v.mean(-1, keepdims=True)
        var = ((v - mean) ** 2).mean(-1, keepdims=True)
        return (v - mean) * jax.lax.rsqrt(var + EPS)

    compiled, array = jax.jit(norm), jax.numpy.asarray(x)
    return jax.__version__, lambda: compiled(array).block_until_ready()


def numpy_copy(x, threads):
    import numpy

    y = numpy.empty_like(x)
    return numpy.__version__, lambda: numpy.copyto(y, x)


def torch_copy(x, threads):
    torch, t = _torch(x, threads)
    y = torch.empty_like(t)
    return torch.__version__, lambda: y.copy_(t)


COPIES = {"NumPy copyto": numpy_copy, "PyTorch copy_": torch_copy}
LIBRARIES = {
    "instnorm": instnorm,
    "PyTorch instance_norm": torch_instance_norm,
    "PyTorch group_norm(C, C)": torch_group_norm,
    "torch.compile": torch_compile,
    "ONNX Runtime": onnxruntime,
    "OpenVINO": openvino,
    "JAX, jit": jax,
}
NEEDS = {"onnxruntime": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "jax": ("jax",),
         "instnorm": ("instnorm",), "numpy_copy": ("numpy",)}


def installed(function):
    """Can this one run here?"""
    for package in NEEDS.get(function.__name__, ("torch",)):
        try:
            importlib.import_module(package)
        except ImportError:
            return False
    return True
