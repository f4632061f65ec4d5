#!/usr/bin/env python3
"""Hashes every tensor of PyTorch files with nothing but Python's own pickle and zipfile: the expected values of tests/sdk/ml_torch.c.

  tests/goldens/torch.py SHARED/models > tests/goldens/torch.json

One line a tensor: file, name, type, shape, SHA-256 of its row-major little-endian bytes."""
import collections, hashlib, io, itertools, json, os, pickle, struct, sys, zipfile

SIZES = {"FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2), "DoubleStorage": ("F64", 8), "LongStorage": ("I64", 8),
         "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1)}


class Tensor:
    def __init__(self, storage, offset, shape, stride, grad, hooks):
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def bytes(self):
        size, data, out = SIZES[self.storage["class"]][1], self.storage["data"], bytearray()
        for index in itertools.product(*map(range, self.shape)):
            at = (self.offset + sum(i * s for i, s in zip(index, self.stride))) * size
            out += data[at:at + size]
        return bytes(out)


class Reader(pickle.Unpickler):
    def __init__(self, file, find):
        super().__init__(file)
        self.find = find

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, grad, hooks: tensor
        if module == "torch" and name in SIZES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid):
        return self.find(pid)


def load(path):
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        folder = next(n for n in archive.namelist() if n.endswith("/data.pkl"))[:-len("/data.pkl")]
        return Reader(io.BytesIO(archive.read(folder + "/data.pkl")),
                      lambda pid: {"class": pid[1], "data": archive.read(f"{folder}/data/{pid[2]}")}).load()
    storages = {}
    with open(path, "rb") as file:
        assert pickle.load(file) == 0x1950a86a20f9469cfc6c and pickle.load(file) == 1001 and pickle.load(file)["little_endian"]
        root = Reader(file, lambda pid: storages.setdefault(pid[2], {"class": pid[1]})).load()
        for key in pickle.load(file):
            count, = struct.unpack("<q", file.read(8))
            storages[key]["data"] = file.read(count * SIZES[storages[key]["class"]][1])
        assert not file.read(1)
    return root


def walk(value, name):
    if isinstance(value, Tensor):
        yield name or "tensor", value
    elif isinstance(value, (dict, list, tuple)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from walk(item, f"{name}.{key}" if name else str(key))


out = []
for folder, _, files in sorted(os.walk(sys.argv[1])):
    for file in sorted(files):
        if file.endswith((".pth", ".pth.tar")):
            path = os.path.join(folder, file)
            out += [[os.path.relpath(path, sys.argv[1]), name, SIZES[t.storage["class"]][0], list(t.shape), hashlib.sha256(t.bytes()).hexdigest()] for name, t in walk(load(path), "")]
print("[" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in out) + "]")
