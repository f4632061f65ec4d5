#!/usr/bin/env python3
"""What the onnx package reads from a real model, and from small ones that it writes here: the expected values of tests/sdk/ml_onnx.c. Needs onnx 1.12 (Debian's
python3-onnx) and NumPy.

  tests/goldens/onnx_read.py SHARED/models tests/fuzz/seeds/onnx > tests/goldens/onnx_read.json

One object a model: path, versions, properties, nodes, values, and of each initializer name, type, shape, SHA-256 of its row-major little-endian bytes."""
import hashlib, json, os, sys
import numpy as np
import onnx
from onnx import TensorProto as T, helper, numpy_helper


def array(t):
    values = numpy_helper.to_array(t) if t.data_type not in (T.BFLOAT16, T.STRING, T.COMPLEX64) else None
    if t.data_type == T.COMPLEX64:  # which this version cannot
        values = np.array(t.float_data, "<f4")
    if t.data_type == T.BFLOAT16:  # this version widens them; the bits are wanted
        values = np.frombuffer(t.raw_data, "<u2") if t.raw_data else np.array(t.int32_data, "<u2")
    digest = "" if values is None else hashlib.sha256(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()
    return [t.name, T.DataType.Name(t.data_type), list(t.dims), digest]


def attribute(a):
    value = helper.get_attribute_value(a) if a.type not in (a.GRAPH, a.GRAPHS, a.TENSOR, a.TENSORS) else None
    if a.type in (a.TENSOR, a.TENSORS):
        value = [array(t) for t in ([a.t] if a.type == a.TENSOR else a.tensors)]
    if a.type in (a.GRAPH, a.GRAPHS):
        value = [graph(g) for g in ([a.g] if a.type == a.GRAPH else a.graphs)]
    if a.type in (a.STRING, a.STRINGS):
        value = [s.hex() for s in ([value] if a.type == a.STRING else value)]
    return [a.name, a.type, value if isinstance(value, list) else list(value) if hasattr(value, "__iter__") else [value]]


def value(v):
    t = v.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in t.shape.dim] if t.HasField("shape") else None
    return [v.name, T.DataType.Name(t.elem_type) if v.type.HasField("tensor_type") else "sequence" if v.type.HasField("sequence_type") else "", dims]


def graph(g):
    return {"name": g.name, "nodes": [[n.op_type, n.domain, n.name, list(n.input), list(n.output), [attribute(a) for a in n.attribute]] for n in g.node],
            "initializers": [array(t) for t in g.initializer], "inputs": [value(v) for v in g.input], "outputs": [value(v) for v in g.output],
            "values": [value(v) for v in g.value_info]}


def model(path, shown):
    m = onnx.load(path)
    return {"path": shown, "ir_version": m.ir_version, "producer": m.producer_name, "opsets": [[o.domain, o.version] for o in m.opset_import],
            "properties": [[p.key, p.value] for p in m.metadata_props], "functions": [[f.domain, f.name, len(f.node)] for f in m.functions], "graph": graph(m.graph)}


def numbers(kind, dims, values, raw=False):
    return helper.make_tensor(T.DataType.Name(kind).lower(), kind, dims, values, raw)


def typed():
    """Every element type in the field of its own, and raw."""
    f16 = np.array([1.5, -2, 65504, 6e-8], np.float16)
    tensors = [numbers(T.FLOAT, [2, 2], [1.5, -0.0, 3e38, 1e-45]), numbers(T.UINT8, [3], [0, 127, 255]), numbers(T.INT8, [3], [-128, -1, 127]),
               numbers(T.UINT16, [2], [0, 65535]), numbers(T.INT16, [2], [-32768, 32767]), numbers(T.INT32, [3], [-2147483648, -1, 2147483647]),
               numbers(T.INT64, [2, 2], [-2**63, -1, 2**63 - 1, 300]), numbers(T.BOOL, [3], [True, False, True]), numbers(T.DOUBLE, [2], [1e308, -5e-324]),
               numbers(T.UINT32, [2], [0, 2**32 - 1]), numbers(T.UINT64, [2], [2**64 - 1, 1]), numbers(T.COMPLEX64, [2], [1 + 2j, -3j]), numbers(T.INT64, [0, 3], [])]
    tensors[-1].name = "empty"
    half, brain, text, scalar = T(), T(), T(), T()
    half.name, half.data_type = "float16", T.FLOAT16
    half.dims.append(4)
    half.int32_data.extend(int(x) for x in f16.view(np.uint16))
    brain.name, brain.data_type = "bfloat16", T.BFLOAT16
    brain.dims.extend([1, 3])
    brain.int32_data.extend([0x3f80, 0xff80, 0x7fc0])
    text.name, text.data_type = "string", T.STRING
    text.dims.append(2)
    text.string_data.extend([b"one", b""])
    scalar.CopyFrom(numpy_helper.from_array(np.array(2.5, np.float32), "scalar"))
    return helper.make_model(helper.make_graph([], "typed", [], [], tensors + [half, brain, text, scalar]), producer_name="golden", opset_imports=[helper.make_opsetid("", 17)])


def nested():
    """Attributes of every kind, sub-graphs, dimensions with names, properties, a function."""
    small = numpy_helper.from_array(np.arange(6, dtype=np.int16).reshape(2, 3), "small")
    branch = [helper.make_graph([helper.make_node("Constant", [], [f"{n}_out"], value=small)], n, [], [helper.make_tensor_value_info(f"{n}_out", T.INT16, [2, 3])]) for n in ("then", "else")]
    inner = helper.make_node("If", ["flag"], ["picked"], name="choose", then_branch=branch[0], else_branch=branch[1])
    loose = helper.make_node("Odd", ["x", "", "picked"], ["y", ""], domain="test", a_float=0.1, an_int=-7, a_text="caf\u00e9", floats=[1.5, -2.25], ints=[1, -1, 2**62], texts=["a", "", "bc"])
    loose.attribute.extend([helper.make_attribute("graphs", [branch[0], branch[1]]), helper.make_attribute("tensors", [small, small])])
    call = helper.make_node("Twice", ["y"], ["z"], domain="own")
    g = helper.make_graph([inner, loose, call], "nested", [helper.make_tensor_value_info("flag", T.BOOL, []), helper.make_tensor_value_info("x", T.FLOAT, ["batch", 3, None]),
                                                           helper.make_tensor_value_info("any", T.FLOAT, None), helper.make_tensor_sequence_value_info("list", T.FLOAT, None)],
                          [helper.make_tensor_value_info("z", T.FLOAT, ["batch"])], [], value_info=[helper.make_tensor_value_info("y", T.FLOAT, [4, "width"])])
    f = helper.make_function("own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)])
    m = helper.make_model(g, producer_name="golden", producer_version="1", opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)], functions=[f])
    helper.set_model_props(m, {"author": "a test", "empty": ""})
    return m


out = [model(os.path.join(sys.argv[1], "squeezenet/SqueezeNet_fp16.onnx"), "squeezenet/SqueezeNet_fp16.onnx")]
for name, made in (("typed.onnx", typed()), ("nested.onnx", nested())):
    path = os.path.join(sys.argv[2], name)
    with open(path, "wb") as file:
        file.write(made.SerializeToString())
    out.append(model(path, name))
print("[" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in out) + "]")
