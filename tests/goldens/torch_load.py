#!/usr/bin/env python3
"""Reads a file with torch.load and lists what is in it, one tensor a line: name, type, shape, SHA-256 of its row-major bytes. tests/sdk/ml_weights_formats.c runs it over
files that we wrote, where a Python with PyTorch is there.

  tests/goldens/torch_load.py FILE.pth"""
import collections, hashlib, sys
sys.path.pop(0)  # torch.py lies beside this script
import torch

loaded = torch.load(sys.argv[1])
assert type(loaded) is collections.OrderedDict
for name, t in loaded.items():
    assert type(t) is torch.Tensor and t.is_contiguous() and not t.requires_grad
    size = t.element_size()
    raw = t.reshape(-1).view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[size]) if t.dtype != torch.bool else t.reshape(-1).to(torch.uint8)
    print(name, str(t.dtype).removeprefix("torch."), "x".join(map(str, t.shape)), hashlib.sha256(raw.numpy().tobytes()).hexdigest())
