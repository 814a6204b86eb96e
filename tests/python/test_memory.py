"""Large results leave their memory to the next one."""

import subprocess
import sys

import numpy as np
import pytest

import instnorm

MB = 1 << 20
LARGE = (4, 64, 4096)  # 4 MB of float32


def large(dtype=np.float32):
    return np.random.default_rng(3).standard_normal(LARGE).astype(dtype)


@pytest.fixture(autouse=True)
def nothing_kept():
    instnorm.release_memory()
    yield
    instnorm.release_memory()


def test_the_next_result_has_the_memory_of_one_that_was_freed():
    x = large()
    first = instnorm.instance_norm(x)
    address, values = first.ctypes.data, first.copy()
    del first
    second = instnorm.instance_norm(x)
    assert second.ctypes.data == address
    np.testing.assert_array_equal(second, values)


def test_a_result_that_is_in_use_is_left_alone():
    x = large()
    first = instnorm.instance_norm(x)
    part, values = first[1, 2], first[1, 2].copy()
    del first
    second = instnorm.instance_norm(x + 1)
    assert not np.shares_memory(part, second)
    np.testing.assert_array_equal(part, values)


def test_release_memory_gives_it_back():
    x = large()
    y = instnorm.instance_norm(x)
    assert instnorm.release_memory() == 0  # in use
    del y
    assert instnorm.release_memory() == 4 * MB
    assert instnorm.release_memory() == 0


def test_such_an_array_is_like_any_other():
    y = instnorm.instance_norm(large())
    assert y.flags.c_contiguous and y.flags.writeable and y.flags.aligned and not y.flags.owndata
    y += 1
    assert y.copy().flags.owndata and np.frombuffer(memoryview(y).cast("B"), np.float32).size == y.size


def test_small_results_are_numpys_own():
    assert instnorm.instance_norm(np.ones((2, 3, 100), np.float32)).flags.owndata


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_gradients_and_other_dtypes_too(dtype):
    x, g = large(dtype), large(dtype)
    m = instnorm.moments(x)
    gx, _, _ = instnorm.instance_norm_backward(g, x, m)
    address = gx.ctypes.data
    del gx
    assert instnorm.denormalize(x, m).ctypes.data == address


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    it = pytest.importorskip("instnorm.torch")
    x = torch.from_numpy(large()).requires_grad_()
    for dtype in (torch.float32, torch.bfloat16):
        y = it.functional.instance_norm(x.detach().to(dtype))
        address = y.data_ptr()
        assert y.dtype == dtype and y.is_contiguous() and type(y) is torch.Tensor
        del y
        assert it.functional.instance_norm(x.detach().to(dtype)).data_ptr() == address
    it.functional.instance_norm(x).sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape


PROGRAM = """
import numpy, instnorm
y = instnorm.instance_norm(numpy.ones((4, 64, 4096), numpy.float32))
owned = y.flags.owndata
del y
print(owned, instnorm.release_memory())
"""


@pytest.mark.parametrize("value, wanted", [("0", "True 0"), ("3", "False 0"), ("4", f"False {4 * MB}"),
                                           ("", f"False {4 * MB}")])
def test_the_environment_bounds_it(value, wanted, monkeypatch):
    monkeypatch.setenv("INSTNORM_KEEP_MEMORY", value)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wanted


def test_a_bound_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("INSTNORM_KEEP_MEMORY", "much")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert "INSTNORM_KEEP_MEMORY=much is not a number of megabytes" in done.stderr
