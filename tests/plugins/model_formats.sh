# model over PyTorch's, NumPy's and ONNX files, and 8-bit floats: looked at, verified, converted to safetensors and compared with what came out.
. tests/lib.sh
root=$PWD seeds=$PWD/tests/fuzz/seeds shared=$(cd "${ETK_SHARED:-../shared}" 2>/dev/null && pwd)
mkdir "$tmp/work" && cd "$tmp/work" || exit 1

# there_and_back FILE FORMAT TENSORS TEXT
there_and_back() {
  run "$exe" --json model:inspect "$1"
  expect_contains out "\"format\":\"$2\",\"files\":1" "$4 is $2"
  expect_contains out "\"tensor_count\":$3," "$4 has $3 tensors"
  run "$exe" --json model:verify "$1" --hash
  expect_exit 0 "$4 is verified"
  rm -rf back.safetensors
  run "$exe" --json model:convert "$1" back.safetensors
  expect_exit 0 "$4 becomes safetensors"
  run "$exe" --json model:diff "$1" back.safetensors
  expect_contains out '"equal":true' "$4: every value is kept"
}
there_and_back "$seeds/torch/strided.pth" PyTorch 1 "a strided tensor of PyTorch"
there_and_back "$seeds/torch/older" PyTorch 1 "a file of the older form"
there_and_back "$seeds/numpy/stored.npz" NumPy 2 "an .npz file"
there_and_back "$seeds/numpy/deflated.npz" NumPy 2 "a compressed .npz file"
there_and_back "$seeds/numpy/columns.npy" NumPy 1 "an array in Fortran order"
cp "$seeds/numpy/stored.npz" damaged.npz && chmod u+w damaged.npz
printf '\001' | dd of=damaged.npz bs=1 seek=120 conv=notrunc 2>/dev/null
run "$exe" --json model:verify damaged.npz
expect_exit 4 "an archive with a changed byte fails"
expect_contains out "is damaged: its CRC-32" "by its checksum"
run "$exe" --json model:inspect "$seeds/torch/strided.pth" --keys
expect_contains out '{"key":"step","value":"7"}' "what is no tensor is a key"
run "$exe" --json model:inspect "$seeds/onnx/nested.onnx" --keys
expect_contains out '{"key":"ai.onnx","value":"17"},{"key":"own","value":"1"},{"key":"author","value":"\"a test\""}' "an ONNX model tells its operator sets and properties"
run "$exe" --json model:inspect "$seeds/onnx/typed.onnx" --tensors
expect_contains out '{"name":"complex64","type":"COMPLEX64","shape":"(2)","parameters":2,"bytes":16}' "types are told as ONNX spells them"
run "$exe" --json model:verify "$seeds/onnx/typed.onnx"
expect_contains out '"tensors_not_decoded":2' "what cannot be decoded is counted"

# The header of a tensor of two bytes, 1 and -1 as E4M3.
printf '\100\0\0\0\0\0\0\0{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}      \070\270' >float8.safetensors
run "$exe" --json model:verify float8.safetensors
expect_contains out '"values":2,"tensors_not_decoded":0' "8-bit floats are decoded"
run "$exe" --json model:convert float8.safetensors wide.safetensors --type f32
expect_exit 0 "and converted"
run "$exe" --json model:diff float8.safetensors wide.safetensors
expect_contains out '"equal":true' "exactly"

if [ -d "$shared/models" ]; then
  there_and_back "$shared/models/squeezenet/SqueezeNet_fp16.onnx" ONNX 52 "SqueezeNet"
  run "$exe" --json model:inspect "$shared/models/squeezenet/SqueezeNet_fp16.onnx"
  for words in '"nodes":66' '"opset":7' '{"graph":"input","name":"' '{"operator":"Conv","nodes":26}'; do
    expect_contains out "$words" "inspect shows the graph of an ONNX file: $words"
  done
  there_and_back "$shared/models/taesd/taef2_decoder.pth" PyTorch 79 "the decoder of TAESD"
  there_and_back "$shared/models/microast/decoder_iter_160000.pth.tar" PyTorch 18 "the decoder of MicroAST"
else skip "real models (../shared is not there)"
fi
cd "$root" || exit 1
