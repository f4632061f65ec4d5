#!/bin/sh
# Writes the seeds of the fuzz target weights: files of each format, from the other targets' seeds, and folders (their first byte says which file it is).
#   sh tests/fuzz/weights_seeds.sh
set -eu
cd "$(dirname "$0")/seeds"
mkdir -p weights
for seed in safetensors/good safetensors/odd_types gguf/every_type gguf/arrays llama2c/tied.bin llama2c/untied.bin numpy/rows.npy numpy/columns.npy numpy/deflated.npz numpy/stored.npz \
  torch/state torch/deflated torch/older torch/strided.pth torch/bare onnx/typed.onnx onnx/nested.onnx; do
  cp "$seed" "weights/$(echo "$seed" | tr / _)"
done
printf '\361{"metadata":{"total_size":4},"weight_map":{"a":"one.safetensors"}}' >weights/folder_index
printf '\363{"model_type":"llama","hidden_size":64,"num_attention_heads":4,"rope_parameters":{"rope_theta":5e5}}' >weights/folder_config
{ printf '\364' && cat safetensors/good; } >weights/folder_safetensors
{ printf '\365' && cat torch/state; } >weights/folder_torch
{ printf '\366' && cat numpy/stored.npz; } >weights/folder_numpy
{ printf '\367' && cat onnx/typed.onnx; } >weights/folder_onnx
