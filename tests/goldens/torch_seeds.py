#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets torch and numpy: tests/goldens/torch_seeds.py tests/fuzz/seeds"""
import io, os, struct, sys, zipfile

ORDERED = b"ccollections\nOrderedDict\n)R"


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def tensor(kind, key, count, shape, stride, offset=0, view=b""):
    numbers = lambda t: b"(" + b"".join(b"J" + struct.pack("<i", n) for n in t) + b"t"
    storage = b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + b"J" + struct.pack("<i", count) + view + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K" + bytes([offset]) + numbers(shape) + numbers(stride) + b"\x89" + ORDERED + b"tR"


def large(name, data):
    """As numpy.savez writes: sizes of the local header in a zip64 field."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z, z.open(zipfile.ZipInfo(name), "w", force_zip64=True) as f:
        f.write(data)
    return out.getvalue()


def archive(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members:
            z.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def put(target, name, data):
    folder = os.path.join(sys.argv[1], target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def npy(descr, order, shape, data, version=1):
    header = str({"descr": descr, "fortran_order": order, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + data


floats = struct.pack("<6f", *range(6))
state = b"\x80\x02" + ORDERED + b"(" + text("a.weight") + tensor(b"FloatStorage", "0", 6, (2, 3), (3, 1)) + text("a.bias") + tensor(b"FloatStorage", "0", 6, (3, 2), (1, 3)) + b"u}" + text("_metadata") + ORDERED + b"sb."
nested = b"\x80\x04\x95" + struct.pack("<Q", 20) + b"}\x94(\x8c\x01n\x94K\x03\x8c\x01l\x94](G\x40\x04\0\0\0\0\0\0\x88Ne\x8c\x01t\x94" + tensor(b"HalfStorage", "0", 12, (12,), (1,)) + b"u."
evil = b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R."
members = lambda p: [("m/data.pkl", p), ("m/byteorder", "little"), ("m/data/0", floats), ("m/version", "3\n")]
put("torch", "state", archive(members(state)))
put("torch", "deflated", archive(members(state), zipfile.ZIP_DEFLATED))
put("torch", "nested", archive(members(nested)))
put("torch", "evil", archive(members(evil)))
magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}" + text("little_endian") + b"\x88s."
put("torch", "older", magic + b"\x80\x02" + tensor(b"FloatStorage", "k", 6, (2, 3), (3, 1), 0, b"N") + b".\x80\x02](" + text("k") + b"e." + struct.pack("<q", 6) + floats)
put("torch", "bare", nested)
put("numpy", "rows.npy", npy("<f4", False, (2, 3), floats))
put("numpy", "columns.npy", npy("<f4", True, (3, 2), floats, 2))
put("numpy", "scalar.npy", npy("|b1", False, (), b"\1", 3))
put("numpy", "object.npy", npy("|O", False, (1,), evil))
put("numpy", "stored.npz", archive([("a.npy", npy("<f4", False, (2, 3), floats)), ("b.npy", npy("<i8", True, (1, 3), floats))]))
put("numpy", "deflated.npz", archive([("a.npy", npy("<f4", True, (2, 3), floats)), ("n/b.npy", npy("|u1", False, (24,), floats))], zipfile.ZIP_DEFLATED))
put("numpy", "zip64.npz", large("a.npy", npy("<f4", False, (6,), floats)))
# [[0, 1, 2], [3, 4, 5]] seen from the other side, and a number beside it.
put("torch", "strided.pth", archive([("m/data.pkl", b"\x80\x02}(" + text("step") + b"K\x07" + text("turned") + tensor(b"FloatStorage", "0", 6, (3, 2), (1, 3)) + b"u."),
                                     ("m/data/0", struct.pack("<6f", *range(6))), ("m/version", b"3\n")]))
