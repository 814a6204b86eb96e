"""Which .npy files the command reads, and what it says of those that it does not."""

import io
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cli_oracle as oracle


@pytest.fixture(autouse=True)
def the_same_numbers_in_any_order_of_tests():
    global RNG
    RNG = np.random.default_rng(1)


DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


def npy(x, version=(1, 0)):
    """x as NumPy writes it in that version."""
    out = io.BytesIO()
    np.lib.format.write_array(out, x, version=version)
    return out.getvalue()


def with_header(text, data=b"", version=1, length=None):
    text = text.encode("latin1")
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def load(path, dtype):
    y = np.load(path)
    return y.view(ml_dtypes.bfloat16) if np.dtype(dtype) == oracle.BFLOAT16 else y


# ml_dtypes has no big-endian bfloat16.
@pytest.mark.parametrize("dtype, byte_order",
                         [(d, b) for d in DTYPES for b in "<>" if (d, b) != (ml_dtypes.bfloat16, ">")])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)], ids=str)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("shape", [(3, 7), (5, 3, 7), (5, 3, 2, 4), (5, 1, 2)], ids=str)
def test_every_kind_of_file(run, tmp_path, dtype, byte_order, version, order, shape):
    x = RNG.normal(2, 3, shape).astype(dtype)
    stored = x if byte_order == "<" else x.astype(np.dtype(dtype).newbyteorder(">"))
    (tmp_path / "x.npy").write_bytes(npy(np.asarray(stored, order=order), version))
    run("apply", tmp_path / "x.npy", tmp_path / "y.npy")
    y = load(tmp_path / "y.npy", dtype)
    assert y.dtype == np.dtype(dtype)
    oracle.assert_close(y, oracle.instance_norm(x), dtype)
    # Two instances with their moments a block, of which there are an odd number.
    block = str(2 * (x[0].nbytes + 24 * shape[-2 if len(shape) == 2 else 1]))
    run("apply", tmp_path / "x.npy", tmp_path / "z.npy", env={"INSTNORM_BLOCK_BYTES": block})
    assert (tmp_path / "y.npy").read_bytes() == (tmp_path / "z.npy").read_bytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(3, 7), (5, 3, 7), (10, 2, 3, 2)], ids=str)
def test_the_output_is_what_numpy_would_write(run, tmp_path, dtype, shape):
    np.save(tmp_path / "x.npy", RNG.normal(0, 1, shape).astype(dtype))
    run("apply", tmp_path / "x.npy", tmp_path / "y.npy")
    again = io.BytesIO()
    np.save(again, load(tmp_path / "y.npy", dtype))
    assert (tmp_path / "y.npy").read_bytes() == again.getvalue()


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
DATA = np.arange(6, dtype="<f4").tobytes()


@pytest.mark.parametrize("text", [
    GOOD,
    GOOD + " " * 30 + "\n",
    "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}",
    '{ "descr" : "<f4" , "fortran_order" : False , "shape" : ( 2 , 3 , ) , }',
    "{'descr': '=f4', 'fortran_order': False, 'shape': (2, 3)}",
    "{'descr': '|f4', 'fortran_order': False, 'shape': (2, 3)}",
    "{'descr': 'f4', 'fortran_order': False, 'shape': (2, 3)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }",
    "{'descr': '<f4',\n 'fortran_order': False,\t'shape': (2, 3)}",
])
@pytest.mark.filterwarnings("ignore:Reading `.npy`")
def test_headers_that_numpy_reads_too(run, tmp_path, text):
    (tmp_path / "x.npy").write_bytes(with_header(text, DATA))
    x = np.load(tmp_path / "x.npy")
    run("apply", tmp_path / "x.npy", tmp_path / "y.npy")
    oracle.assert_close(np.load(tmp_path / "y.npy"), oracle.instance_norm(x), np.float32)


def test_bytes_after_the_array_are_ignored_as_numpy_does(run, tmp_path):
    (tmp_path / "x.npy").write_bytes(with_header(GOOD, DATA + b"and more"))
    run("apply", tmp_path / "x.npy", tmp_path / "y.npy")
    x = np.load(tmp_path / "x.npy")
    oracle.assert_close(np.load(tmp_path / "y.npy"), oracle.instance_norm(x), np.float32)


def dict_with(**entries):
    parts = {"descr": "'<f4'", "fortran_order": "False", "shape": "(2, 3)", **entries}
    return "{" + ", ".join(f"'{k}': {v}" for k, v in parts.items() if v is not None) + "}"


HOSTILE = {
    "empty file": (b"", "empty"),
    "no npy file": (b"hello, world, hello, world", "not an .npy file"),
    "npz": (b"PK\x03\x04" + bytes(30), "zip archive"),
    "magic alone": (b"\x93NUMPY", "ends within its header"),
    "no length": (b"\x93NUMPY\x02\x00\x10\x00", "ends within its header"),
    "version 0": (with_header(GOOD, DATA, version=0), "version"),
    "version 4": (with_header(GOOD, DATA, version=4), "version"),
    "header longer than the file": (with_header(GOOD, length=60000), "ends within its header"),
    "header of 4 GB": (with_header(GOOD, version=2, length=2**32 - 1), "claims"),
    "header length 0": (with_header("", DATA), "expected '{'"),
    "header cut": (with_header(GOOD[:30], DATA), "NumPy writes"),
    "header too short by length": (with_header(GOOD, DATA, length=20), "NumPy writes"),
    "data cut": (with_header(GOOD, DATA[:-1]), "ends early"),
    "no data": (with_header(GOOD), "ends early"),
    "text after the dict": (with_header(GOOD + "x", DATA), "its end"),
    "zero after the dict": (with_header(GOOD + "\0", DATA), "its end"),
    "not a dict": (with_header("['descr', 'shape']", DATA), "expected '{'"),
    "empty dict": (with_header("{}", DATA), "lacks the key 'descr'"),
    "missing shape": (with_header(dict_with(shape=None), DATA), "lacks the key 'shape'"),
    "unknown key": (with_header(dict_with(more="1"), DATA), "unknown key, 'more'"),
    "twice": (with_header(GOOD[:-3] + ", 'shape': (2, 3)}", DATA), "twice"),
    "expression": (with_header(dict_with(shape="(1+1, 3)"), DATA), "NumPy writes"),
    "call": (with_header(dict_with(descr="__import__('os').system('true')"), DATA), "a dtype"),
    "list for a tuple": (with_header(dict_with(shape="[2, 3]"), DATA), "NumPy writes"),
    "number for a tuple": (with_header(dict_with(shape="(6)"), DATA), "NumPy writes"),
    "float extent": (with_header(dict_with(shape="(2.0, 3)"), DATA), "NumPy writes"),
    "empty extent": (with_header(dict_with(shape="(2, , 3)"), DATA), "an extent"),
    "Python 2 in version 3": (with_header(dict_with(shape="(2L, 3L)"), DATA, version=3), "NumPy writes"),
    "negative": (with_header(dict_with(shape="(-2, -3)"), DATA), "negative"),
    "huge extent": (with_header(dict_with(shape=f"({10**30}, 3)"), DATA), "too large"),
    "overflow": (with_header(dict_with(shape=f"({2**40}, {2**40})"), DATA), "too large"),
    "overflow to few bytes": (with_header(dict_with(shape=f"({2**62 + 1}, 4)"), DATA), "too large"),
    "overflow beside 0": (with_header(dict_with(shape=f"({2**40}, {2**40}, 0)")), "too large"),
    "more than the file has": (with_header(dict_with(shape=f"({2**40}, 3)"), DATA), "ends early"),
    "100 dimensions": (with_header(dict_with(shape="(" + "1," * 100 + ")"), DATA), "64 dimensions"),
    "9 dimensions": (with_header(dict_with(shape="(" + "1," * 9 + ")"), DATA), "2 to 8 dimensions"),
    "1 dimension": (with_header(dict_with(shape="(6,)"), DATA), "2 to 8 dimensions"),
    "no dimension": (with_header(dict_with(shape="()"), DATA), "2 to 8 dimensions"),
    "order as a number": (with_header(dict_with(fortran_order="0"), DATA), "True or False"),
    "order as a word": (with_header(dict_with(fortran_order="Falsehood"), DATA), "NumPy writes"),
    "objects": (npy(np.array([[None, 1, "a"]] * 2)), "Python objects"),
    "structured": (npy(np.zeros((2, 3), dtype=[("a", "<f4")])), "structured"),
    "structured, not ASCII": (npy(np.zeros((2, 3), dtype=[("\u4e00", "<f4")]), (3, 0)), "structured"),
    "not ASCII": (with_header(dict_with(descr="'\xe4'"), DATA), "a dtype"),
    "line break in a dtype": (with_header(dict_with(descr="'<f4\n'"), DATA), "a dtype"),
    "backslash": (with_header(dict_with(descr="'\\x3cf4'"), DATA), "a dtype"),
    "int16": (npy(np.zeros((2, 3), np.int16)), "astype('float32')"),
    "bool": (npy(np.zeros((2, 3), bool)), "not float16"),
    "complex": (npy(np.zeros((2, 3), np.complex64)), "not float16"),
    "longdouble": (npy(np.zeros((2, 3), np.longdouble)), "not float16"),
    "void of 4": (npy(np.zeros((2, 3), "V4")), "not float16"),
    "big-endian void": (with_header(dict_with(descr="'>V2'"), DATA), "bfloat16"),
    "8-bit float": (npy(np.zeros((2, 3), ml_dtypes.float8_e5m2)), "not float16"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_files_that_are_refused(run, tmp_path, case):
    data, said = HOSTILE[case]
    (tmp_path / "x.npy").write_bytes(data)
    done = run("apply", tmp_path / "x.npy", tmp_path / "y.npy", status=1)
    assert done.error.startswith(f"instnorm: {tmp_path}/x.npy: ") and said in done.error, done.error
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def survives(run, folder, content):
    """Refused in one line, or read as NumPy reads it."""
    (folder / "x.npy").write_bytes(content)
    done = run("apply", folder / "x.npy", folder / "y.npy", "--force", status=(0, 1))
    if done.returncode == 0:
        assert np.load(folder / "y.npy").shape == np.load(folder / "x.npy").shape


@QUICK
@given(st.data())
def test_changed_bytes(run, tmp_path, data):
    good = bytearray(npy(np.arange(24, dtype=np.float32).reshape(2, 3, 4)))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, 80))] = data.draw(
            st.sampled_from(list(b"0123456789'\"{}(),:<>f248VTrueFalse \n\0\xff-L")))
    survives(run, tmp_path, bytes(good))


@QUICK
@given(st.text(alphabet="{}()'\",: descrfotanp_h<>f4V2TrueFals0123456789L-", max_size=80),
       st.integers(1, 3))
def test_headers_of_random_text(run, tmp_path, text, version):
    survives(run, tmp_path, with_header(text, DATA, version))


@QUICK
@given(st.binary(max_size=200))
def test_random_bytes(run, tmp_path, content):
    survives(run, tmp_path, b"\x93NUMPY" + content)
