#!/bin/sh
# The HTML report of `benchmark` in headless Chromium: it loads without a message on the console, shows its table and charts, and fits a phone.
# Screenshots go to $ETK_SHOTS where that is set.
. tests/lib.sh
browser=$(command -v chromium || command -v chromium-browser)
if [ -z "$browser" ]; then
  skip "chromium is not installed (apt-get install chromium)"
  exit 0
fi
build_plugin tests/cli/plugins/benchmarked.c benchmarked "$tmp/plugins" -O1 || { not_ok "the plugin with benchmarks compiles"; exit 1; }
bench() { run "$exe" --plugin-dir "$tmp/plugins" benchmark "$@"; }
bench benchmarked:steady benchmarked:memory --time 120ms --rounds 3 --save-baseline b
bench benchmarked:steady benchmarked:memory benchmarked:refuse --time 120ms --rounds 3 --baseline b -o "$tmp/report.html"
if [ -s "$tmp/report.html" ]; then ok "a report is written, also when a case failed"; else not_ok "a report is written, also when a case failed"; exit 1; fi
if grep -Eo '(src|href)="[^"]*"|url\([^)]*\)|@import' "$tmp/report.html" | grep -Ev '="(data:|#)|url\(#' | grep -q .; then not_ok "the report loads nothing from elsewhere"; else ok "the report loads nothing from elsewhere"; fi

# chromium_at WIDTH SCHEME OPTIONS…: standard output to $tmp/dom, the console to $tmp/console
chromium_at() {
  width=$1 scheme=$2
  shift 2
  timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$tmp/profile" --hide-scrollbars --enable-logging=stderr --v=0 \
    --virtual-time-budget=2000 --window-size="$width,1600" --blink-settings=preferredColorScheme="$scheme" "$@" >"$tmp/dom" 2>"$tmp/console"
}
# A copy that measures itself: its script writes the verdict into the title. Only the copy lets a script run.
sed -e "s/default-src 'none'/default-src 'none'; script-src 'unsafe-inline'/" \
  -e 's|</body>|<script>document.title="M "+[document.documentElement.scrollWidth<=innerWidth,document.querySelectorAll("figure svg").length,document.querySelectorAll("tbody tr").length,[...document.querySelectorAll("figure svg")].every(s=>{const r=s.getBoundingClientRect();return r.width>200\&\&r.height>100}),getComputedStyle(document.body).backgroundColor,innerWidth].join(" ")</script></body>|' \
  "$tmp/report.html" >"$tmp/measured.html"
for width in 1280 500; do
  chromium_at "$width" 1 --dump-dom "file://$tmp/measured.html"
  seen=$(grep -o '<title>M [^<]*' "$tmp/dom" | cut -c10-)
  case "$seen" in "true 5 5 true "*) ok "at $width pixels the page does not scroll sideways and shows five charts and five rows" ;; *) not_ok "at $width pixels the page does not scroll sideways and shows five charts and five rows" "$seen" ;; esac
done
light=$(printf '%s' "$seen" | cut -d' ' -f5-7)
chromium_at 1280 0 --dump-dom "file://$tmp/measured.html"
dark=$(grep -o '<title>M [^<]*' "$tmp/dom" | cut -c10- | cut -d' ' -f5-7)
if [ -n "$dark" ] && [ "$dark" != "$light" ]; then ok "it is dark where the reader likes it dark"; else not_ok "it is dark where the reader likes it dark" "$light, $dark"; fi
for width in 1280 400; do
  chromium_at "$width" 1 --screenshot="$tmp/$width.png" "file://$tmp/report.html"
  if grep -q ':CONSOLE' "$tmp/console"; then not_ok "at $width pixels nothing is said on the console" "$(grep ':CONSOLE' "$tmp/console")"; else ok "at $width pixels nothing is said on the console"; fi
  if [ "$(wc -c <"$tmp/$width.png" 2>/dev/null || echo 0)" -gt 20000 ]; then ok "at $width pixels there is a picture of it"; else not_ok "at $width pixels there is a picture of it" "$(tail -3 "$tmp/console")"; fi
  [ -z "${ETK_SHOTS:-}" ] || cp "$tmp/$width.png" "$ETK_SHOTS/benchmark-$width.png"
done
