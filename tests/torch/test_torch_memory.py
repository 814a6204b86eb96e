"""Memory that runs out under PyTorch: MemoryError, running statistics and gradients as they were, the next call right.

What the kernels make is large, so its memory is ours: PyTorch's own is a RuntimeError of PyTorch's.
"""

from __future__ import annotations

from address_space import reads_proc, run

pytestmark = reads_proc

PROLOGUE = """
import instnorm, instnorm.torch as it, torch
from instnorm.torch import functional as F
torch.set_num_threads(1)

def near(a, b):  # torch.testing imports half of PyTorch
    return torch.allclose(a, b, rtol=1e-4, atol=1e-4)

def small():
    rows = torch.arange(24.0).reshape(2, 3, 4).requires_grad_()
    assert near(F.instance_norm(rows), torch.nn.functional.instance_norm(rows))
    torch.autograd.grad(F.instance_norm(rows), rows, rows)

def refused(call):
    small()  # PyTorch imports some of itself late
    instnorm.release_memory()
    limit(8)
    try:
        call()
    except MemoryError as error:
        assert "\\n" not in str(error)
        small()
    else:
        raise SystemExit("8 MB are enough")
    unlimited()

"""

BEFORE_EACH = """
N, C, L = 128, 64, 1024  # 32 MB
x = torch.randn(N, C, L)
wanted = torch.nn.functional.instance_norm(x)
mean, var = torch.zeros(C), torch.ones(C)
layer = it.InstanceNorm1d(C, affine=True, track_running_stats=True)
"""

PROGRAMS = {
    "instance_norm": """
call = lambda: F.instance_norm(x, mean, var)
refused(call)
assert not mean.any() and (var == 1).all()
assert near(call(), wanted)
assert mean.any()
""",
    "with extras and moments": """
call = lambda: F.instance_norm(x, mean, var, activation="relu", return_moments=True)
refused(call)
assert not mean.any() and (var == 1).all()
assert near(call()[0], wanted.relu())
assert mean.any()
""",
    "backward": """
x.requires_grad_()
y = layer(x)
g = torch.randn_like(x)
refused(lambda: torch.autograd.grad(y, x, g, retain_graph=True))
refused(lambda: y.backward(g, retain_graph=True))
assert x.grad is None and layer.weight.grad is None
reference = x.detach().clone().requires_grad_()
torch.nn.functional.instance_norm(reference).backward(g)
y.backward(g)
assert near(x.grad, reference.grad)
""",
    "denormalize": """
m = F.moments(x)
y = F.instance_norm(x)
refused(lambda: F.denormalize(y, m))
assert near(F.denormalize(y, m), x)
""",
    "a layer": """
before = {name: value.clone() for name, value in layer.state_dict().items()}
refused(lambda: layer(x))
assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
assert near(layer(x).detach(), wanted)
""",
}


def test_too_little_memory() -> None:
    program = PROLOGUE + "".join(f"{BEFORE_EACH}\nprint({name!r}){text}" for name, text in PROGRAMS.items())
    run(program, INSTNORM_NUM_THREADS="1", INSTNORM_KEEP_MEMORY="")
