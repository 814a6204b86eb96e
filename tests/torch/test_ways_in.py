"""Every way in which PyTorch can come to the layer, and that it takes the intended one.

Inputs stand at a mean where PyTorch's own operator misses the promise by a factor of thousands, so
the values tell who computed.
"""

from __future__ import annotations

import copy
import io
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.utils import checkpoint

import instnorm.torch as it
import torch_oracle as oracle
from instnorm.torch import functional as ours

MEAN = 1e6


def far(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.randn(*shape, dtype=torch.float64) + MEAN).to(dtype)


def layer(track: bool = True, **kwargs) -> it.InstanceNorm1d:
    norm = it.InstanceNorm1d(3, affine=True, track_running_stats=track, momentum=0.5, **kwargs)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    return norm


def is_ours(y: torch.Tensor, x: torch.Tensor, norm: torch.nn.Module) -> bool:
    error = (y.double() - oracle.normalize(x, norm.weight, norm.bias, norm.eps)).abs().max()
    assert error < 1, "neither of them"
    return bool(error < 1e-5)


def test_the_values_tell():
    norm, x = layer(), far(2, 3, 500)
    plain = copy.deepcopy(norm)
    plain.__class__ = torch.nn.InstanceNorm1d
    assert is_ours(norm(x), x, norm) and not is_ours(plain(x), x, norm)


@pytest.mark.parametrize("context", [
    torch.no_grad, torch.inference_mode, torch.enable_grad,
    lambda: torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t),
    torch.autograd.graph.save_on_cpu,
    lambda: torch.device("cpu"),
    lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    lambda: torch.autograd.profiler.profile(),
    torch.autograd.detect_anomaly,
], ids=["no_grad", "inference_mode", "grad", "hooks", "save_on_cpu", "device", "autocast", "profiler", "anomaly"])
def test_contexts(context):
    norm, x = layer(), far(2, 3, 500).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with context():
            y = norm(x)
            if y.requires_grad:
                y.sum().backward()
    assert is_ours(y, x, norm) and y.dtype == torch.float32
    assert norm.running_mean[0] > MEAN / 4


def test_inference_mode_gives_inference_tensors_and_counts_no_versions():
    norm = layer()
    with torch.inference_mode():
        assert norm(torch.randn(2, 3, 8)).is_inference()
    made_inside = None
    with torch.inference_mode():
        made_inside = layer()
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode"):
        made_inside(torch.randn(2, 3, 8))
    if oracle.NEW:  # before, eval wrote to running statistics too
        assert made_inside.eval()(torch.randn(2, 3, 8)).shape == (2, 3, 8)


def test_versions_of_running_statistics():
    norm, x = layer(), torch.randn(2, 3, 8)
    buffers = norm.running_mean, norm.running_var
    start = [t._version for t in buffers]
    norm(x)
    assert [t._version for t in buffers] == [v + 1 for v in start]
    with torch.no_grad():
        norm(x)
    assert [t._version for t in buffers] == [v + 2 for v in start]
    norm.eval()(x)
    assert [t._version for t in buffers] == [v + 2 for v in start]
    assert norm.num_batches_tracked == 0


def test_running_statistics_that_are_views_are_written_through():
    storage = torch.zeros(2, 6)
    mean, var = storage[0, ::2], storage[1, 1::2]
    x = torch.randn(4, 3, 50) + 5
    ours.instance_norm(x, mean, var, momentum=1.0)
    torch.testing.assert_close(storage[0, ::2], x.mean((0, 2)))
    torch.testing.assert_close(storage[1, 1::2], x.var(2).mean(0))
    assert not storage[0, 1::2].any() and not storage[1, ::2].any() and storage._version == 2


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoint(use_reentrant):
    norm, x = layer(track=False), far(2, 3, 500).requires_grad_()
    expected = torch.autograd.grad(norm(x).pow(2).sum(), x)[0]
    y = checkpoint.checkpoint(norm, x, use_reentrant=use_reentrant)
    assert is_ours(y, x, norm)
    y.pow(2).sum().backward()
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_compile(backend, dynamic, training):
    torch.compiler.reset()
    norm = layer().train(training)
    if not training:
        norm.running_mean.fill_(MEAN)
    twin = copy.deepcopy(norm)
    compiled = torch.compile(norm, backend=backend, fullgraph=True, dynamic=dynamic)
    for n, length in ((2, 500), (3, 400), (4, 300)) if dynamic else ((2, 500),):
        x = far(n, 3, length).requires_grad_()
        y, expected = compiled(x), twin(x)
        torch.testing.assert_close(y, expected, rtol=0, atol=0)
        if training:
            assert is_ours(y, x, norm)
        g = torch.randn_like(y)
        parameters = (x, norm.weight, norm.bias), (x, twin.weight, twin.bias)
        for mine, right in zip(torch.autograd.grad(y, parameters[0], g), torch.autograd.grad(expected, parameters[1], g)):
            torch.testing.assert_close(mine, right, rtol=0, atol=0)
        torch.testing.assert_close(norm.running_mean, twin.running_mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(norm.running_var, twin.running_var, rtol=1e-6, atol=1e-6)


def test_compile_makes_one_graph_without_breaks():
    torch.compiler.reset()
    model = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), layer(), torch.nn.ReLU(inplace=True), it.AdaIN1d(4, 3).requires_grad_())
    explained = torch._dynamo.explain(lambda x, s: model[3](model[:3](x), s))(torch.randn(2, 2, 30), torch.randn(2, 4))
    assert explained.graph_break_count == 0 and explained.graph_count == 1


def test_compile_of_many_shapes_is_compiled_twice():
    """Once for the first shape and once for all others, in training and in eval."""
    from torch._dynamo.testing import CompileCounter

    for training in (True, False):
        torch.compiler.reset()
        counter, norm = CompileCounter(), layer().train(training)
        compiled = torch.compile(norm, backend=counter, fullgraph=True)
        for n, length in ((2, 20), (3, 30), (4, 40), (5, 50), (3, 60)):
            compiled(torch.randn(n, 3, length))
        assert counter.frame_count == 2


def test_compile_raises_pytorchs_errors():
    torch.compiler.reset()
    f = torch.compile(ours.instance_norm, backend="eager")
    with pytest.raises(Exception, match="Expected more than 1 spatial element when training"):
        f(torch.randn(2, 3, 1))
    with pytest.raises(Exception, match="weight should contain 6 elements not 8"):
        f(torch.randn(2, 3, 5), weight=torch.ones(4))


def compiled_transforms(norm):
    """What torch.compile takes of torch.func, with the layer inside. Of PyTorch's own it does not take a jvp with
    a weight, and vjp of jvp is silently wrong."""
    func = torch.func
    tangent = torch.linspace(-1, 1, 36, dtype=torch.float64).reshape(2, 3, 6)
    w, b = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.0, 1.0, -1.0]).double()

    def f(x):
        return norm(x, weight=w, bias=b)

    def loss(x):
        return (f(x) * tangent.cos()).pow(3).sum()

    return {
        "grad": func.grad(loss),
        "vmap": lambda x: func.vmap(f)(torch.stack([x, x * 2])),
        "vmap of grad": lambda x: func.vmap(func.grad(loss))(torch.stack([x, x.exp()])),
        "jvp": lambda x: func.jvp(f, (x,), (tangent,))[1],
        "grad of grad": func.grad(lambda x: func.grad(loss)(x).square().sum()),
        "forward over reverse": lambda x: func.jvp(func.grad(loss), (x,), (tangent,))[1],
        "reverse over forward": func.grad(lambda x: func.jvp(f, (x,), (tangent,))[1].square().sum()),
        "grad of grad of grad": func.grad(lambda x: func.grad(lambda y: func.grad(loss)(y).square().sum())(x).sin().sum()),
        "per-sample gradients of the weight": lambda x: func.vmap(
            func.grad(lambda w, x: norm(x, weight=w).pow(3).sum()), in_dims=(None, 0)
        )(w, torch.stack([x, x.exp()])),
    }


@pytest.mark.parametrize("transform", compiled_transforms(ours.instance_norm))
def test_compile_of_transforms(transform):
    torch.compiler.reset()
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    compiled = torch.compile(compiled_transforms(ours.instance_norm)[transform], backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), compiled_transforms(oracle.normalize)[transform](x))


def test_inductor_of_transforms():
    torch.compiler.reset()
    x, transform = torch.randn(2, 3, 6, dtype=torch.float64), "forward over reverse"
    compiled = torch.compile(compiled_transforms(ours.instance_norm)[transform], fullgraph=True)
    torch.testing.assert_close(compiled(x), compiled_transforms(oracle.normalize)[transform](x))


@pytest.mark.parametrize("options", [{}, {"lengths": torch.tensor([6, 4])}], ids=["plain", "lengths"])
def test_compiled_and_called_with_dual_numbers(options):
    """The operators carry no tangents: a level of forward mode around the call is seen, also after a call without."""
    torch.compiler.reset()
    x, tangent, w = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 3, 6), (2, 3, 6), (3,)))

    def definition(x):
        if not options:
            return oracle.normalize(x, w)
        short = torch.nn.functional.pad(oracle.normalize(x[1:, :, :4], w), (0, 2))
        return torch.cat([oracle.normalize(x[:1], w), short])

    compiled = torch.compile(lambda x: ours.instance_norm(x, weight=w, **options), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), definition(x))
    with forward_ad.dual_level():
        _, found = forward_ad.unpack_dual(compiled(forward_ad.make_dual(x, tangent)))
    assert found is not None
    torch.testing.assert_close(found, torch.func.jvp(definition, (x,), (tangent,))[1])
    torch.testing.assert_close(compiled(x), definition(x))


def test_compiled_and_differentiated_twice():
    """By the backend that leaves it to autograd; AOTAutograd differentiates once and says so."""
    torch.compiler.reset()
    tensors = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 6), (3,), (3,))]
    g = torch.randn(2, 3, 6, dtype=torch.float64)

    def second(f):
        first = torch.autograd.grad((f(*tensors) * g).sin().sum(), tensors, create_graph=True)
        return torch.autograd.grad(sum(t.square().sum() for t in first), tensors)

    compiled = torch.compile(lambda x, w, b: ours.instance_norm(x, weight=w, bias=b), backend="eager", fullgraph=True)
    torch.testing.assert_close(second(compiled), second(oracle.normalize))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_export_keeps_pytorchs_operator(training, strict):
    if strict and not hasattr(torch.compiler, "is_exporting"):
        pytest.skip("PyTorch 2.6 does not tell strict export from torch.compile")
    torch.compiler.reset()
    norm, x = layer().train(training), torch.randn(2, 3, 50)
    shapes = {"input": {0: torch.export.Dim("n"), 2: torch.export.Dim("length")}}
    program = torch.export.export(norm, (x,), dynamic_shapes={**shapes}, strict=strict)
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.instance_norm.default" in targets and not any("instnorm" in t for t in targets)
    twin = copy.deepcopy(norm)
    torch.testing.assert_close(program.module()(far(3, 3, 40) - MEAN), twin(far(3, 3, 40) - MEAN), atol=9, rtol=9)
    saved = io.BytesIO()
    torch.export.save(program, saved)
    mutated = set(program.run_decompositions().graph_signature.buffers_to_mutate.values())
    assert mutated == ({"running_mean", "running_var"} if training or not oracle.NEW else set())


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("track", [True, False])
def test_onnx_export_gives_the_standard_operator(dynamo, track, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    if dynamo:
        pytest.importorskip("onnxscript", reason="needs the package onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    if dynamo and track and not oracle.NEW:
        pytest.skip("this PyTorch exports its own layer so that no runtime takes it")
    model = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), layer(track)).eval()
    if track:
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2)
    x, file = torch.randn(2, 2, 30), str(tmp_path / "model.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), file, dynamo=dynamo)
    types = {node.op_type for node in onnx.load(file).graph.node}
    assert ("BatchNormalization" if track else "InstanceNormalization") in types
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    # The runtime's own arithmetic, in float32 with sums in order: of 28 values.
    torch.testing.assert_close(torch.from_numpy(found), model(x).detach(), rtol=1e-5, atol=1e-5)


def test_jit_trace_and_script_take_pytorchs_operator():
    norm, x = layer(track=False), torch.randn(2, 3, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced, scripted = torch.jit.trace(norm, (x,)), torch.jit.script(norm)
    assert "aten::instance_norm" in str(traced.graph)
    other = torch.randn(4, 3, 20)
    for module in (traced, scripted):
        oracle.assert_close(module(other), oracle.exact(other, norm.weight, norm.bias))
    scripted.weight.data.fill_(3)
    assert norm.weight[0] == 3


def test_meta_and_fake_tensors():
    x = torch.empty(2, 3, 8, device="meta").transpose(0, 1).transpose(0, 1)
    y = ours.instance_norm(x, weight=torch.empty(3, device="meta"))
    assert y.device.type == "meta" and y.shape == x.shape and y.is_contiguous()
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = ours.instance_norm(torch.randn(2, 3, 8))
        assert type(fake).__name__ == "FakeTensor" and fake.shape == (2, 3, 8)
    fake = ours.instance_norm(mode.from_tensor(torch.randn(2, 3, 8)))
    assert type(fake).__name__ == "FakeTensor"
    assert it.InstanceNorm1d(3, affine=True, device="meta").to_empty(device="cpu").weight.shape == (3,)


@pytest.mark.parametrize("tracing", ["real", "fake", "symbolic"])
def test_make_fx(tracing):
    from torch.fx.experimental.proxy_tensor import make_fx

    def f(x, mean):
        return ours.instance_norm(x, mean, torch.ones(3)), torch.autograd.grad(ours.instance_norm(x).pow(2).sum(), x)

    x = torch.randn(2, 3, 8, requires_grad=True)
    graph = make_fx(f, tracing_mode=tracing)(x, torch.zeros(3))
    assert any("batch_norm" in str(n.target) for n in graph.graph.nodes)
    other, mean, twin = torch.randn(2, 3, 8, requires_grad=True), torch.zeros(3), torch.zeros(3)
    torch.testing.assert_close(graph(other, mean), f(other, twin), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mean, twin)


def test_functionalize():
    def f(x, mean, var):
        y = ours.instance_norm(x, mean, var)
        return y, mean + 0

    x = torch.randn(2, 3, 8)
    mine, m = torch.func.functionalize(f)(x, torch.zeros(3), torch.ones(3))
    right, n = f(x, torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(mine, right)
    torch.testing.assert_close(m, n)


def test_vmap_with_running_statistics():
    x, mean, var = torch.randn(4, 2, 3, 8), torch.zeros(4, 3), torch.ones(4, 3)
    y = torch.func.vmap(ours.instance_norm)(x, mean, var)
    for one, result, m, v in zip(x, y, mean, var):
        m2, v2 = torch.zeros(3), torch.ones(3)
        torch.testing.assert_close(result, ours.instance_norm(one, m2, v2))
        torch.testing.assert_close((m, v), (m2, v2))
    evaluate = lambda x: ours.instance_norm(x, mean[0], var[0], use_input_stats=False)  # noqa: E731
    torch.testing.assert_close(torch.func.vmap(evaluate)(x)[0], evaluate(x[0]))
    with pytest.raises(RuntimeError, match="Batch norm got a batched tensor as input while the running_mean"):
        torch.func.vmap(lambda x: ours.instance_norm(x, mean[0], var[0]))(x)
    # Of a module each slice is unbatched.
    norm = it.InstanceNorm1d(3)
    torch.testing.assert_close(torch.func.vmap(norm)(x[0]), norm(x[0]))


def test_functional_call_updates_the_given_buffers():
    norm, x = layer(), far(2, 3, 50)
    state = {k: v.detach().clone() for k, v in norm.state_dict().items()}
    y = torch.func.functional_call(norm, state, (x,))
    assert is_ours(y, x, norm)
    assert state["running_mean"][0] > MEAN / 4 and norm.running_mean[0] == 0


class Named(torch.Tensor):
    """A subclass without a handler of its own."""


class Handled(torch.Tensor):
    calls: list = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls.append((func, args, kwargs))
        return super().__torch_function__(func, types, args, kwargs or {})


def test_subclasses():
    norm, x = layer(), far(2, 3, 500)
    y = ours.instance_norm(x.as_subclass(Named), weight=norm.weight, bias=norm.bias)
    assert type(y) is Named and is_ours(y.as_subclass(torch.Tensor), x, norm)
    Handled.calls.clear()
    weight = norm.weight.detach()
    y = ours.instance_norm(x.as_subclass(Handled), weight=weight, momentum=0.25)
    assert type(y) is Handled
    func, args, kwargs = next(call for call in Handled.calls if call[0] is F.instance_norm)
    assert len(args) == 1 and kwargs["weight"] is weight and kwargs["momentum"] == 0.25
    assert type(ours.instance_norm(torch.nn.Parameter(x))) is torch.Tensor


def test_expanded_weights():
    from torch.nn.utils._per_sample_grad import call_for_per_sample_grads

    model = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), it.InstanceNorm1d(3, affine=True))
    x = torch.randn(4, 2, 20)
    call_for_per_sample_grads(model)(x).pow(3).sum().backward()
    for i, one in enumerate(x):
        expected = torch.autograd.grad(model(one[None]).pow(3).sum(), model[1].weight)[0]
        torch.testing.assert_close(model[1].weight.grad_sample[i], expected, atol=1e-3, rtol=1e-4)


def test_fx_sees_one_node():
    model = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), layer(), it.convert(torch.nn.GroupNorm(3, 3)))
    graph = torch.fx.symbolic_trace(model)
    assert [n.op for n in graph.graph.nodes] == ["placeholder", *["call_module"] * 3, "output"]
    x = torch.randn(2, 2, 30)
    torch.testing.assert_close(graph(x), copy.deepcopy(model)(x))


def test_deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        x, norm = far(2, 3, 500), layer()
        assert is_ours(norm(x), x, norm)
    finally:
        torch.use_deterministic_algorithms(False)


def test_same_bits_alone_and_in_a_batch_and_for_any_number_of_threads():
    x = torch.randn(16, 3, 5000)
    y = ours.instance_norm(x)
    for threads in (2, 4):
        torch.set_num_threads(threads)
        torch.testing.assert_close(ours.instance_norm(x), y, rtol=0, atol=0)
    torch.testing.assert_close(ours.instance_norm(x[5:6]), y[5:6], rtol=0, atol=0)


def test_the_operators_of_compile_are_well_behaved():
    x, w, b = far(2, 3, 8).requires_grad_(), torch.rand(3, requires_grad=True), torch.rand(3, requires_grad=True)
    nothing = (None, None, "propagate", "NCL", 0.0, None)
    given = (x, w, b, None, None, 1e-5, *nothing, None, None, None)
    torch.library.opcheck(torch.ops.instnorm.normalize.default, given)
    y, *m = torch.ops.instnorm.normalize(*given)
    torch.library.opcheck(
        torch.ops.instnorm.normalize_backward.default,
        (torch.randn(2, 3, 8), x, w, b, *(t.detach() for t in m), 1e-5, False, *nothing),
    )
    wide = [t.detach().double().requires_grad_() for t in (x - MEAN, w, b)]
    assert torch.autograd.gradgradcheck(
        lambda x, w, b: torch.ops.instnorm.normalize(x, w, b, None, None, 1e-5, *nothing, None, None, None)[0], wide
    )


@pytest.mark.parametrize("option", ["running", "lengths", "mask", "given"])
def test_the_operators_with_every_kind_of_argument(option):
    """Schemas, shapes and registrations; test_compile and the extras' tests run them."""
    x, w, b = torch.randn(2, 3, 8, requires_grad=True), torch.rand(3), torch.rand(2, 3)
    statistics = (torch.randn(3), torch.rand(3) + 0.5) if option == "running" else (None, None)
    lengths = torch.tensor([8, 3]) if option == "lengths" else None
    mask = torch.rand(2, 8) < 0.7 if option == "mask" else None
    given = [torch.rand(2, 3).double() + 2 for _ in range(3)] if option == "given" else [None] * 3
    rest = (lengths, mask, "propagate", "NCL", 1.0, "silu")
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    arguments = (x, w, b, *statistics, 1e-5, *rest, *given)
    torch.library.opcheck(torch.ops.instnorm.normalize.default, arguments, test_utils=checks)
    _, *m = torch.ops.instnorm.normalize(*arguments)
    constant = option in ("running", "given")
    torch.library.opcheck(
        torch.ops.instnorm.normalize_backward.default,
        (torch.randn(2, 3, 8), x, w, b, *(t.detach() for t in m), 1e-5, constant, *rest),
        test_utils=checks,
    )


@pytest.mark.parametrize("training", [True, False])
def test_a_tensor_elsewhere_takes_pytorchs_operator(training, monkeypatch):
    called = []
    monkeypatch.setattr(F, "instance_norm", lambda *args: called.append(args) or args[0])
    norm = it.InstanceNorm1d(3, affine=True, track_running_stats=True, device="meta").train(training)
    norm(torch.empty(2, 3, 8, device="meta"))
    assert len(called) == 1
