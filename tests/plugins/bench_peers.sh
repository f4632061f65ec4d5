# bench/peers on a tiny model: one round of every part, with llama.cpp where $ETK_LLAMA names it and with PyTorch where python3 has it. What it prints and what it writes
# agree; a peer that is missing leaves a word in its rows and the rest goes on.
. tests/lib.sh
command -v python3 >/dev/null || { skip "python3 is not here"; exit 0; }
cache=$tmp/cache
mkdir -p "$cache"
# shellcheck disable=SC2046,SC2086
for program in limits peers/measure peers/random_model peers/product; do
  mkdir -p "$tmp/b/bench/peers"
  $CC -std=c11 -D_GNU_SOURCE -O1 $san_flags ${COVERAGE:+--coverage} -Isdk/include -Isdk "bench/$program.c" "$B/obj/ml.a" "$B/obj/core.a" -o "$tmp/b/bench/$program" -pthread \
    $(pkg-config --libs yaml-0.1 jansson libpcre2-8 libutf8proc zlib) -ldl -lm 2>"$tmp/log" || { not_ok "bench/$program.c is built" "$(cat "$tmp/log")"; exit 1; }
done
ln -s "$B/bin" "$tmp/b/bin"
[ -z "${ETK_LLAMA:-}" ] || sh bench/peers/llama.sh "$cache" >"$tmp/log" 2>&1 || { not_ok "the driver is built" "$(cat "$tmp/log")"; exit 1; }
table() { run python3 -B bench/peers/table.py "$cache" "$tmp/b" --shapes tiny --runs 1 --prompt 40 --gen 4 --limits-ms 5 "$@"; }

table --types f32,q4_k --parts speed,first,batch,train --json "$tmp/table.json"
expect_exit 0 "one round of every part on a tiny model runs"
expect_contains out "tiny q4_k prompt" "a row for each type"
expect_contains out "limit: read" "the machine's limits stand above the table"
cat >"$tmp/check.py" <<'PY'
import json, sys
document, peer = json.load(open(sys.argv[1])), sys.argv[2]
rows = {r['title']: r for r in document['rows']}
def ours(title, key):
    figures = [r[key] for r in rows[title]['runs'] if r['peer'] == 'ours']
    if not figures: sys.exit('%s: no run of ours: %s' % (title, rows[title]['reasons']))
    return figures[0]
for title in ('tiny f32', 'tiny q4_k'):
    if not (ours(title, 'prompt_tokens_per_s') > 0 and ours(title, 'decode_tokens_per_s') > 0): sys.exit(title + ': no rate')
    planned, peak = ours(title, 'planned_bytes'), ours(title, 'peak_bytes')
    if not 0 < planned <= peak: sys.exit('%s: planned %d, peak %d' % (title, planned, peak))
    work = rows[title]['work']
    # 2 layers of 256: q, o 256^2, k, v 128 x 256, gate, up, down 512 x 256; the head 512 x 256; attention 2 x 40^2 x 256 a layer
    wanted = 2 * 40 * 2 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256) + 2 * 512 * 256 + 2 * 2 * 40 * 40 * 256
    if abs(work['prompt_operations'] / wanted - 1) > 1e-4: sys.exit('%s: %g operations, wanted %d' % (title, work['prompt_operations'], wanted))
for title in ('tiny f32 cold', 'tiny f32 warm'):
    if not 0 < ours(title, 'first_token_ms') < 60000: sys.exit(title + ': no time to the first token')
if ours('tiny q4_k x4', 'decode_tokens_per_s') <= 0: sys.exit('no batch')
lora = rows['tiny lora f32 4x128']
losses = ours('tiny lora f32 4x128', 'losses')
if not losses[-1] < losses[0]: sys.exit('the loss does not fall: %s' % losses)
other = [r for r in lora['runs'] if r['peer'] == 'pytorch']
# F32 sums in another order: a few roundings of 6e-8 a step, which AdamW's first steps (each of size rate) can enlarge
if other and lora['losses_differ'] > 1e-4: sys.exit('losses differ by %g' % lora['losses_differ'])
if peer:
    runs = {r['peer'] for r in rows['tiny q4_k']['runs']}
    first = {r['peer']: r['id'] for r in rows['tiny f32 warm']['runs']}
    if 'llama.cpp' not in runs: sys.exit('llama.cpp did not run: %s' % rows['tiny q4_k']['reasons'])
    if first['ours'] != first['llama.cpp']: sys.exit('the first token is %d here and %d there' % (first['ours'], first['llama.cpp']))
PY
run python3 "$tmp/check.py" "$tmp/table.json" "${ETK_LLAMA:-}"
expect_exit 0 "rates, plans below peaks, counted operations, falling losses that are PyTorch's, first tokens that are llama.cpp's"

ETK_LLAMA='' table --types q4_k --parts speed
expect_exit 0 "without llama.cpp the table is made all the same"
expect_contains out "its package cannot be had" "and says why the column is empty"
ETK_BENCH_PEERS="other=$tmp/no-such-program" table --types q4_k --parts speed
expect_contains out "other: " "a named program that is not there is told in its row"
table --parts products --weights 96x64 --types f32,q8_0 --json "$tmp/products.json"
expect_exit 0 "products of one weight are measured"
cat >"$tmp/check.py" <<'PY'
import json, sys
rows = {r['title']: r for r in json.load(open(sys.argv[1]))['rows']}
# F32 by sums of 64 in another order; Q8_0 rounds weights and rows to 8 bits, each by up to 1/254 of the largest of 32
for title, most in (('f32 96x64', 1e-6), ('q8_0 96x64', 0.02)):
    for r in rows[title]['runs']:
        if not (r['error'] < most and r['gops_1'] > 0 and r['gops_512'] > 0): sys.exit('%s: %s' % (title, r))
    if 'ours' not in {r['peer'] for r in rows[title]['runs']}: sys.exit('%s: %s' % (title, rows[title]['reasons']))
PY
run python3 "$tmp/check.py" "$tmp/products.json"
expect_exit 0 "and are the products"
table --shapes 9b
expect_fail 2 "unknown: 9b" "an unknown shape is refused"
cat >"$tmp/llama-bench" <<'SH'
#!/bin/sh
case "$*" in *--help*) echo "-gp <pp,tg>" ;; *-gp*) echo '[{"avg_ts": 21.5}]' ;; *) echo '[{"avg_ts": 300}]' ;; esac
SH
chmod +x "$tmp/llama-bench"
ETK_BENCH_PEERS="other=$tmp/llama-bench" table --types q4_k --parts speed
expect_contains out "21.5" "llama-bench's JSON becomes a column, decoding after the prompt where it can"
