"""What is shipped, as the linker left it: the module and the command of the wheel, and the shared library."""

import os
import pathlib
import re
import sys
import zipfile

import elf
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release")).resolve()

# Whose symbols may be missing, and in which versions. `VERSION` is LLVM's OpenMP.
LIBRARIES = {
    r"lib(c|m|dl|pthread|rt)\.so\.\d|ld-linux.*\.so\.\d": r"GLIBC_2\.[\d.]+",
    r"libstdc\+\+\.so\.6": r"(GLIBCXX_3\.4|CXXABI_1\.3|CXXABI_TM)[\d.]*",
    r"libgcc_s\.so\.1": r"GCC_[\d.]+",
    r"libgomp\.so\.1": r"(GOMP|OMP)_[\d.]+",
    r"libi?omp\d?\.so(\.\d)?": r"VERSION",
    r"libhwy\.so\.1": r"HWY_0",
}
# Without a version: what may be missing altogether, the rest of Highway, and Python in a module.
WITHOUT_VERSION = r"_ITM_\w+|__gmon_start__|_ZN3hwy\w+|__cxa_finalize"
PYTHON = r"Py[A-Z]\w+|Py_\w+|_Py\w+"
# Of names with an underscore those that the macros of the limited API stand for: a stable ABI has no others.
STABLE = (r"Py[A-Z]\w+|Py_\w+|_Py_(Dealloc|(Dec|Inc)Ref|(None|True|False|NotImplemented|Ellipsis)(Object|Struct))"
          r"|_PyObject_(GC_)?New(Var)?|_PyWeakref_\w+RefType|_PyWeakref_RefType")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory, built_wheel):
    if not sys.platform.startswith("linux"):
        pytest.skip("ELF files are Linux's")
    folder = tmp_path_factory.mktemp("wheel")
    zipfile.ZipFile(built_wheel).extractall(folder)
    return folder


def cache(name):
    path = BUILD / "CMakeCache.txt"
    if not path.is_file():
        pytest.skip(f"there is no CMake build in {BUILD}")
    found = re.search(rf"^{name}:\w+=(.*)$", path.read_text(), re.MULTILINE)
    return found and found[1]


@pytest.fixture(scope="module", params=["module", "command", "library"])
def shipped(request):
    if cache("INSTNORM_HARDENING") == "OFF":
        pytest.skip("built without hardening")
    if request.param == "library":
        found = sorted((BUILD / "src").glob("libinstnorm.so*"))
        if not found:
            pytest.skip("there is no shared library in this build")
        return request.param, elf.Elf(found[0])
    unpacked = request.getfixturevalue("unpacked")
    (path,) = unpacked.glob({"module": "instnorm/_C*.so", "command": "instnorm/bin/instnorm"}[request.param])
    return request.param, elf.Elf(path)


def test_relocations_are_read_only_before_the_first_call(shipped):
    _, file = shipped
    assert file.flags_of_segment(elf.PT_GNU_RELRO)
    flags = sum(file.dynamic(elf.DT_FLAGS)) & elf.DF_BIND_NOW or sum(file.dynamic(elf.DT_FLAGS_1)) & elf.DF_1_NOW
    assert flags or file.dynamic(elf.DT_BIND_NOW)


def test_the_stack_is_no_code(shipped):
    _, file = shipped
    (flags,) = file.flags_of_segment(elf.PT_GNU_STACK)
    assert not flags & elf.PF_X


def test_it_may_be_loaded_anywhere(shipped):
    kind, file = shipped
    assert file.type == elf.ET_DYN
    assert bool(file.flags_of_segment(elf.PT_INTERP)) == (kind == "command")
    if kind == "command":
        (flags,) = file.dynamic(elf.DT_FLAGS_1)
        assert flags & elf.DF_1_PIE


def test_functions_guard_their_frames_and_their_copies(shipped):
    _, file = shipped
    symbols = {name for name, _, _ in file.undefined()}
    assert symbols & {"__stack_chk_fail", "__stack_chk_guard"}
    if any(library == "libc.so.6" for _, library, _ in file.undefined()):
        assert any(name.endswith("_chk") for name in symbols), "nothing is fortified"


def test_nothing_else_is_needed(shipped):
    kind, file = shipped
    python = STABLE if ".abi3." in file.name else PYTHON
    strange = []
    for name, library, version in file.undefined():
        if library is None:
            ok = re.fullmatch(WITHOUT_VERSION, name) or (kind == "module" and re.fullmatch(python, name))
            # LLVM's OpenMP, on machines where its symbols have no version.
            ok = ok or re.fullmatch(r"__kmpc_\w+|omp_\w+", name)
        else:
            ok = any(re.fullmatch(l, library) and re.fullmatch(v, version) for l, v in LIBRARIES.items())
        if not ok:
            strange.append((name, library, version))
    assert not strange


def test_libraries_are_looked_for_in_the_package_alone(shipped):
    kind, file = shipped
    if kind != "library":
        wanted = {"module": "$ORIGIN/lib", "command": "$ORIGIN/../lib"}[kind]
        assert file.dynamic(elf.DT_RUNPATH) + file.dynamic(elf.DT_RPATH) == [wanted]
