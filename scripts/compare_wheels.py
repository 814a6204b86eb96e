"""Says in which members, and in what of each, two wheels differ: compare_wheels.py WHEEL WHEEL."""

import hashlib
import pathlib
import sys
import zipfile


def facts(archive, name):
    info = archive.getinfo(name)
    data = archive.read(name)
    return {"time": info.date_time, "mode": oct(info.external_attr >> 16), "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest()}


def differences(first, second):
    names = [archive.namelist() for archive in (first, second)]
    for name in sorted(set(names[0]) ^ set(names[1])):
        yield f"{name}: in one of them alone"
    for name in sorted(set(names[0]) & set(names[1])):
        a, b = facts(first, name), facts(second, name)
        yield from (f"{name}: {key} {a[key]} and {b[key]}" for key in a if a[key] != b[key])
    if sorted(names[0]) == sorted(names[1]) and names[0] != names[1]:
        yield f"order: {names[0]} and {names[1]}"


def main(paths):
    files = [pathlib.Path(path) for path in paths]
    contents = [file.read_bytes() for file in files]
    if files[0].name == files[1].name and contents[0] == contents[1]:
        print(f"the same bytes: {files[0].name}, {len(contents[0])} bytes, sha256 {hashlib.sha256(contents[0]).hexdigest()}")
        return 0
    print(f"not the same: {files[0].name} and {files[1].name}")
    with zipfile.ZipFile(files[0]) as first, zipfile.ZipFile(files[1]) as second:
        for line in differences(first, second):
            print(f"  {line}")
    return 1


sys.exit(main(sys.argv[1:]))
