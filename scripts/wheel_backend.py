"""scikit-build-core, but that a wheel's members are in order: of .dist-info's it takes the file system's."""

import pathlib
import zipfile

import scikit_build_core.build
from scikit_build_core.build import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def place(name: str) -> tuple[bool, bool, str]:
    """By name, but .dist-info behind the package and RECORD last, where PEP 427 wants them."""
    return ".dist-info/" in name, name.endswith(".dist-info/RECORD"), name


def sort_members(wheel: pathlib.Path) -> None:
    """The members, and RECORD's lines. What a member is, its time and its mode stay."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    members.sort(key=lambda member: place(member[0].filename))
    info, record = members[-1]
    lines = sorted(record.decode().splitlines(keepends=True), key=lambda line: place(line.split(",")[0]))
    members[-1] = info, "".join(lines).encode()
    with zipfile.ZipFile(wheel, "w") as archive:
        for member in members:
            archive.writestr(*member)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = scikit_build_core.build.build_wheel(wheel_directory, config_settings, metadata_directory)
    sort_members(pathlib.Path(wheel_directory, name))
    return name
