"""Seeds of the fuzz target adapter, for its tiny model:  python3 tests/fuzz/adapter_seeds.py"""
import json, os, struct

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'seeds', 'adapter')
os.makedirs(here, exist_ok=True)
PEFT, MLX, GGUF, KOHYA = range(4)
SIZES = {'F32': 4, 'F16': 2, 'BF16': 2, 'F64': 8}


def safetensors(tensors):
    header, data = {}, b''
    for name, kind, shape in tensors:
        count = 1
        for d in shape:
            count *= d
        header[name] = {'dtype': kind, 'shape': shape, 'data_offsets': [len(data), len(data) + count * SIZES[kind]]}
        data += bytes(i % 7 for i in range(count * SIZES[kind]))
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text)) + text + data


def text(s):
    return struct.pack('<Q', len(s)) + s.encode()


def gguf(keys, tensors):
    out = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(keys))
    for name, value in keys.items():
        out += text(name) + (struct.pack('<I', 8) + text(value) if isinstance(value, str) else struct.pack('<If', 6, value))
    data = b''
    for name, shape in tensors:
        data += bytes(-len(data) % 32)
        out += text(name) + struct.pack('<I%dQIQ' % len(shape), len(shape), *shape[::-1], 0, len(data))
        count = 1
        for d in shape:
            count *= d
        data += bytes(4 * count)
    return out + bytes(-len(out) % 32) + data


def put(name, form, to, config, data, base=True):
    config = json.dumps(config).encode() if config else b''
    with open(os.path.join(here, name), 'wb') as f:
        f.write(bytes([form | (4 if base else 0) | to << 3]) + struct.pack('<H', len(config)) + config + data)


P = 'base_model.model.model.layers.'
peft = {'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4, 'lora_dropout': 0.0, 'target_modules': ['q_proj', 'v_proj'], 'layers_to_transform': [1], 'layers_pattern': 'layers'}
pair = [(P + '1.self_attn.q_proj.lora_A.weight', 'F32', [2, 4]), (P + '1.self_attn.q_proj.lora_B.weight', 'F32', [4, 2])]
value = [(P + '1.self_attn.v_proj.lora_A.weight', 'F16', [2, 4]), (P + '1.self_attn.v_proj.lora_B.weight', 'BF16', [2, 2])]
for to, name in enumerate(('peft', 'mlx', 'gguf', 'kohya')):
    put('peft_to_' + name, PEFT, to, peft, safetensors(pair + value))
put('peft_patterns', PEFT, PEFT, {**peft, 'rank_pattern': {'v_.*': 1, 'q': 2}, 'alpha_pattern': {'layers.1.self_attn.q_proj': 3}, 'exclude_modules': ['k_proj']},
    safetensors(pair + [(P + '1.self_attn.v_proj.lora_A.weight', 'F32', [1, 4]), (P + '1.self_attn.v_proj.lora_B.weight', 'F32', [2, 1])]))
put('peft_regex', PEFT, MLX, {**peft, 'target_modules': r'.*\.1\.self_attn\.[qv]_proj', 'exclude_modules': '.*k_proj'}, safetensors(pair + value), False)
put('peft_dora', PEFT, MLX, {**peft, 'use_dora': True}, safetensors(pair + [(P + '1.self_attn.q_proj.lora_magnitude_vector', 'F32', [4])]))
put('peft_saved', PEFT, PEFT, {**peft, 'modules_to_save': ['lm_head']}, safetensors(pair + [('base_model.model.lm_head.weight', 'F16', [8, 4])]))
put('peft_embedding', PEFT, GGUF, {**peft, 'target_modules': ['embed_tokens'], 'layers_to_transform': None},
    safetensors([('base_model.model.model.embed_tokens.lora_embedding_A', 'F32', [2, 8]), ('base_model.model.model.embed_tokens.lora_embedding_B', 'F32', [4, 2])]))
mlx = {'fine_tune_type': 'lora', 'num_layers': 1, 'model': 'x', 'lora_parameters': {'rank': 2, 'scale': 20.0, 'dropout': 0.0, 'keys': ['self_attn.q_proj']}}
turned = [('model.layers.1.self_attn.q_proj.lora_a', 'F32', [4, 2]), ('model.layers.1.self_attn.q_proj.lora_b', 'F32', [2, 4])]
put('mlx_to_peft', MLX, PEFT, mlx, safetensors(turned), False)
put('mlx_dora', MLX, PEFT, {**mlx, 'fine_tune_type': 'dora'}, safetensors(turned + [('model.layers.1.self_attn.q_proj.m', 'F32', [4])]))
keys = {'general.type': 'adapter', 'general.architecture': 'llama', 'adapter.type': 'lora', 'adapter.lora.alpha': 4.0}
put('gguf_to_peft', GGUF, PEFT, None, gguf(keys, [('blk.1.attn_q.weight.lora_a', [2, 4]), ('blk.1.attn_q.weight.lora_b', [4, 2])]))
put('gguf_no_base', GGUF, MLX, None, gguf(keys, [('blk.1.ffn_down.weight.lora_a', [2, 6]), ('blk.1.ffn_down.weight.lora_b', [4, 2])]), False)
put('gguf_embedding', GGUF, PEFT, None, gguf(keys, [('token_embd.weight.lora_a', [8, 2]), ('token_embd.weight.lora_b', [4, 2])]))
K = 'lora_te_model_layers_0_mlp_up_proj'
put('kohya_to_gguf', KOHYA, GGUF, None, safetensors([(K + '.lora_down.weight', 'F32', [2, 4]), (K + '.lora_up.weight', 'F32', [6, 2]), (K + '.alpha', 'F32', [])]))
put('kohya_no_alpha', KOHYA, PEFT, None, safetensors([(K + '.lora_down.weight', 'F16', [2, 4]), (K + '.lora_up.weight', 'F16', [6, 2])]))
put('kohya_unet', KOHYA, PEFT, None, safetensors([('lora_unet_mid_block.lora_down.weight', 'F32', [2, 4]), ('lora_unet_mid_block.lora_up.weight', 'F32', [6, 2])]))
