#!/usr/bin/env python3
"""Prints the two range tables of sdk/core/utf8.c from Python's copy of the Unicode Character Database.

Zero columns: Mn, Me, Cf (but U+00AD) and the Hangul vowels and finals that join the syllable before them.
Two columns: East Asian Width W or F, and unassigned code points of the two ideographic planes.
Ranges grow over unassigned code points between two of a kind, which keeps the tables short.
"""
import unicodedata as u


def kind(c):
    ch = chr(c)
    cat = u.category(ch)
    if cat == "Cn":
        return None if not 0x20000 <= c <= 0x3FFFD else "W"
    if c != 0xAD and (cat in ("Mn", "Me", "Cf") or 0x1160 <= c <= 0x11FF or 0xD7B0 <= c <= 0xD7FF):
        return "Z"
    return "W" if u.east_asian_width(ch) in "WF" else "N"


def ranges(wanted):
    out, start, last = [], None, None
    for c in range(0x80, 0x110000):
        k = kind(c)
        if k == wanted:
            start = c if start is None else start
            last = c
        elif k is not None and start is not None:
            out.append((start, last))
            start = None
    return out + ([(start, last)] if start is not None else [])


if __name__ == "__main__":
    print("/* Unicode", u.unidata_version, "*/")
    for name, wanted in (("zero", "Z"), ("wide", "W")):
        cells = ["{0x%X, 0x%X}" % r for r in ranges(wanted)]
        print("static const range %s[] = {" % name)
        line = "   "
        for cell in cells:
            if len(line) + len(cell) + 2 > 150:
                print(line)
                line = "   "
            line += " " + cell + ","
        print(line + "\n};")
