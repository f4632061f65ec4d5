#!/usr/bin/env python3
"""The value of each of the 256 bytes of the 8-bit floating types, by exact fractions from the text of the specifications: OCP 8-bit Floating Point (OFP8) 1.0
for E4M3 and E5M2, OCP Microscaling Formats (MX) 1.0 for E8M0, and for the FNUZ kinds "8-bit Numerical Formats for Deep Neural Networks" (arXiv 2206.02915).

  tests/goldens/float8.py > tests/goldens/float8.json

Values as Python's hexadecimal floating point; "nan", "inf", "-inf", "-0x0.0p+0"."""
import json
from fractions import Fraction


def signed(exponent_bits, mantissa_bits, bias, special):
    out = []
    for byte in range(256):
        sign, exponent, mantissa = byte >> 7, byte >> mantissa_bits & (1 << exponent_bits) - 1, byte & (1 << mantissa_bits) - 1
        known = special(byte, exponent, mantissa)
        if known:
            out.append(("-" if sign and known == "inf" else "") + known)
            continue
        fraction = Fraction(mantissa, 1 << mantissa_bits)
        value = fraction * Fraction(2) ** (1 - bias) if exponent == 0 else (1 + fraction) * Fraction(2) ** (exponent - bias)
        exact = float(value)
        assert Fraction(exact) == value
        out.append(("-" if sign else "") + exact.hex())
    return out


def e4m3(byte, exponent, mantissa):  # section 5.1: no infinity, S.1111.111 is NaN
    return "nan" if exponent == 15 and mantissa == 7 else None


def e5m2(byte, exponent, mantissa):  # as IEEE 754: S.11111.00 is infinity, the rest of that exponent NaN
    return None if exponent != 31 else "nan" if mantissa else "inf"


def fnuz(byte, exponent, mantissa):  # finite, unsigned zero: the pattern of -0 is the only NaN
    return "nan" if byte == 0x80 else None


print(json.dumps({
    "F8_E4M3": signed(4, 3, 7, e4m3), "F8_E5M2": signed(5, 2, 15, e5m2), "F8_E4M3FNUZ": signed(4, 3, 8, fnuz), "F8_E5M2FNUZ": signed(5, 2, 16, fnuz),
    "F8_E8M0": [float(Fraction(2) ** (byte - 127)).hex() if byte < 255 else "nan" for byte in range(256)]}, separators=(",", ":")).replace("],", "],\n"))
