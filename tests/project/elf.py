"""As much of an ELF file as tests/project/test_hardening.py asks of one: 64 bits, read as its own header says."""

import struct
from pathlib import Path

PT_DYNAMIC, PT_INTERP, PT_GNU_STACK, PT_GNU_RELRO = 2, 3, 0x6474E551, 0x6474E552
DT_NEEDED, DT_RPATH, DT_BIND_NOW, DT_RUNPATH, DT_FLAGS, DT_FLAGS_1 = 1, 15, 24, 29, 30, 0x6FFFFFFB
DF_BIND_NOW, DF_1_NOW, DF_1_PIE, PF_X, ET_DYN = 8, 1, 0x08000000, 1, 3
SHT_DYNAMIC, SHT_DYNSYM, SHT_VERNEED, SHT_VERSYM = 6, 11, 0x6FFFFFFE, 0x6FFFFFFF


class Elf:
    def __init__(self, path):
        self.name = Path(path).name
        self.bytes = Path(path).read_bytes()
        assert self.bytes[:5] == b"\x7fELF\x02", f"{path} is no ELF file of 64 bits"
        self.order = "<" if self.bytes[5] == 1 else ">"
        (self.type, _, _, _, segments, sections, _, _, segment_size, segment_count, section_size,
         section_count, _) = self.read("HHIQQQIHHHHHH", 16)
        # p_type, p_flags and what is not asked for
        self.segments = [self.read("II", segments + i * segment_size) for i in range(segment_count)]
        # name, type, flags, address, offset, size, link, info
        self.sections = [self.read("IIQQQQII", sections + i * section_size) for i in range(section_count)]

    def read(self, form, offset):
        return struct.unpack_from(self.order + form, self.bytes, offset)

    def section(self, kind):
        found = [s for s in self.sections if s[1] == kind]
        return (found[0][4], found[0][5], self.sections[found[0][6]][4], found[0][7]) if found else (0, 0, 0, 0)

    def text(self, strings, offset):
        start = strings + offset
        return self.bytes[start : self.bytes.index(b"\0", start)].decode()

    def flags_of_segment(self, kind):
        return [flags for found, flags in self.segments if found == kind]

    def dynamic(self, tag):
        """The values of a tag; names where they are names."""
        offset, size, strings, _ = self.section(SHT_DYNAMIC)
        values = [value for found, value in (self.read("QQ", offset + i) for i in range(0, size, 16)) if found == tag]
        return [self.text(strings, v) for v in values] if tag in (DT_NEEDED, DT_RPATH, DT_RUNPATH) else values

    def versions(self):
        """Of each number of a version: the library and the version."""
        offset, _, strings, count = self.section(SHT_VERNEED)
        found = {}
        for _ in range(count):
            _, auxiliaries, file, at, following = self.read("HHIII", offset)
            at += offset
            for _ in range(auxiliaries):
                _, _, number, name, step = self.read("IHHII", at)
                found[number] = (self.text(strings, file), self.text(strings, name))
                at += step
            offset += following
        return found

    def undefined(self):
        """(symbol, library or None, version or None), of all that somebody else must have."""
        symbols, size, strings, _ = self.section(SHT_DYNSYM)
        numbers, _, _, _ = self.section(SHT_VERSYM)
        versions = self.versions()
        for i in range(1, size // 24):
            name, info, _, section = self.read("IBBH", symbols + 24 * i)
            if section == 0:
                (number,) = self.read("H", numbers + 2 * i)
                yield (self.text(strings, name), *versions.get(number & 0x7FFF, (None, None)))
