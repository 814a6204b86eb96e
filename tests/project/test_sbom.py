"""The bill of materials in the wheel: CycloneDX's required fields, and the versions in the headers that were read."""

import importlib.metadata
import json
import os
import pathlib
import re
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSTNORM_BUILD_DIR", ROOT / "build" / "release")).resolve()


def cached_folder(package):
    found = re.search(rf"^{package}_DIR:\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE)
    return pathlib.Path(found[1])


def version_found(package):
    """What the package's own file for CMake says."""
    folder = cached_folder(package)
    for name in (f"{package}-config-version.cmake", f"{package}ConfigVersion.cmake"):
        if (folder / name).is_file():
            return re.search(r'set\(PACKAGE_VERSION "([^"]+)"\)', (folder / name).read_text())[1]
    raise AssertionError(folder)


@pytest.fixture(scope="module", params=["wheel", "library"])
def sbom(request):
    if not (BUILD / "CMakeCache.txt").is_file():
        pytest.skip(f"there is no CMake build in {BUILD}")
    if request.param == "library":
        return request.param, json.loads((BUILD / "instnorm.cdx.json").read_text())
    with zipfile.ZipFile(request.getfixturevalue("built_wheel")) as archive:
        (name,) = (name for name in archive.namelist() if re.fullmatch(r"instnorm-[^/]+\.dist-info/sboms/.+", name))
        assert name.endswith("/instnorm.cdx.json")
        return request.param, json.loads(archive.read(name))


def test_it_is_a_cyclonedx_document(sbom):
    _, document = sbom
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.5", 1)
    parts = [document["metadata"]["component"], *document["components"]]
    for part in parts:
        assert part["type"] == "library" and part["name"]
        assert re.fullmatch(r"\d+\.\d+\.\d+", part["version"]), part
        assert part["licenses"][0]["license"]["id"] in ("Apache-2.0", "BSD-3-Clause", "MIT")
    references = [part["bom-ref"] for part in parts]
    assert len(set(references)) == len(references)
    (own,) = document["dependencies"]
    assert own == {"ref": references[0], "dependsOn": references[1:]}


def test_versions_are_those_that_cmake_found(sbom):
    kind, document = sbom
    wanted = {"highway": "hwy", "nlohmann-json": "nlohmann_json", "cli11": "CLI11"}
    versions = {name: version_found(package) for name, package in wanted.items()}
    if kind == "wheel":
        versions["nanobind"] = importlib.metadata.version("nanobind")
    assert {part["name"]: part["version"] for part in document["components"]} == versions
    header = (ROOT / "include" / "instnorm" / "version.h").read_text()
    assert document["metadata"]["component"]["version"] == re.search(r'INSTNORM_VERSION "([^"]+)"', header)[1]
