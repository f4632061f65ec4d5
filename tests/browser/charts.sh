# Every kind of chart in a browser: no errors, nothing blank, no words over each other.
. tests/lib.sh
browser=$(command -v chromium || command -v chromium-browser || true)
[ -n "$browser" ] || { skip "charts in a browser: chromium is not installed"; exit 0; }
# shellcheck disable=SC2086
$CC -std=gnu11 -include sdk/core/banned.h -Isdk/include $san_flags tests/browser/charts.c -o "$tmp/charts" -L"$B/lib" -letk-media -letk -lm -Wl,-rpath,"$B/lib" || exit 1
mkdir "$tmp/svg"
run "$tmp/charts" "$tmp/svg"
expect_exit 0 "the charts are written"
page=$tmp/page.html
{
  printf '<!DOCTYPE html><html><head><meta charset="utf-8"><script>window.problems = []; window.onerror = (m) => problems.push(m); console.error = (m) => problems.push(m);</script></head><body>\n'
  for f in "$tmp"/svg/*.svg; do
    printf '<div id="%s">' "$(basename "$f" .svg)"
    sed 1d "$f"
    printf '</div>\n'
  done
  cat <<'PAGE'
<pre id="seen"></pre><script>
// The corners of a text on the screen, turned as it is; two boxes overlap unless a side of one parts them.
function corners(t) {
  const b = t.getBBox(), m = t.getScreenCTM(), inset = 1.5;
  const p = (x, y) => [m.a * x + m.c * y + m.e, m.b * x + m.d * y + m.f];
  const top = b.y + b.height * 0.2, low = b.y + b.height * 0.8;
  return [p(b.x + inset, top), p(b.x + b.width - inset, top), p(b.x + b.width - inset, low), p(b.x + inset, low)];
}
function parted(a, b) {
  for (let i = 0; i < 4; i++) {
    const [x0, y0] = a[i], [x1, y1] = a[(i + 1) % 4], nx = y1 - y0, ny = x0 - x1;
    const on = (q) => q.map(([x, y]) => nx * x + ny * y), u = on(a), v = on(b);
    if (Math.max(...u) <= Math.min(...v) || Math.max(...v) <= Math.min(...u)) return true;
  }
  return false;
}
const out = [];
let texts = 0;
for (const div of document.querySelectorAll('div')) {
  const svg = div.querySelector('svg'), all = [...svg.querySelectorAll('text')], boxes = all.map(corners), frame = svg.getBoundingClientRect();
  texts += all.length;
  for (let i = 0; i < all.length; i++) {
    for (const [x, y] of boxes[i])
      if (x < frame.left - 2 || x > frame.right + 2 || y < frame.top - 2 || y > frame.bottom + 2) { out.push(`${div.id}: outside: ${all[i].textContent}`); break; }
    for (let k = 0; k < i; k++)
      if (!parted(boxes[i], boxes[k]) && !parted(boxes[k], boxes[i])) out.push(`${div.id}: overlap: ${all[k].textContent} | ${all[i].textContent}`);
  }
}
document.getElementById('seen').textContent = `texts ${texts} errors ${problems.length} found ${out.length}\n` + problems.concat(out).join('\n');
</script></body></html>
PAGE
} >"$page"
browse() { timeout 60 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --user-data-dir="$tmp/profile" "$@" "file://$page"; }
run browse --dump-dom
case "$out" in *'id="seen"'*) ;; *) skip "charts in a browser: $browser does not run here"; exit 0 ;; esac
said=$(printf '%s\n' "$out" | sed -n '/id="seen"/,/<\/pre>/p' | sed 's/<[^>]*>//g' | head -20)
out=$said
expect_contains out " errors 0 " "the page has no errors"
expect_contains out " found 0" "no words stand over each other or outside"
if [ "$(printf '%s\n' "$said" | sed -n 's/^texts \([0-9]*\) .*/\1/p')" -gt 400 ]; then ok "and there are words"; else not_ok "and there are words"; fi
run browse --window-size=760,3000 --screenshot="$tmp/page.png"
if [ -s "$tmp/page.png" ] && [ "$(wc -c <"$tmp/page.png")" -gt 60000 ]; then ok "the picture of the page is not blank"; else not_ok "the picture of the page is not blank"; fi
