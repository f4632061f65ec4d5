# help, docs and the manual page: made from the tables, and the committed copies say the same.
. tests/lib.sh
unset EFFICIENTAI_PLUGIN_PATH
bundled() { "$exe" "$@" 2>"$tmp/.err"; }

bundled docs >"$tmp/commands.md"
if cmp -s "$tmp/commands.md" etc/docs/commands.md; then ok "etc/docs/commands.md is what docs prints"
else not_ok "etc/docs/commands.md is what docs prints" "make docs writes it again: $(diff "$tmp/commands.md" etc/docs/commands.md | head -5)"; fi
bundled docs --man >"$tmp/page.1"
if cmp -s "$tmp/page.1" etc/man/efficientai-toolkit.1; then ok "etc/man/efficientai-toolkit.1 is what docs --man prints"
else not_ok "etc/man/efficientai-toolkit.1 is what docs --man prints" "make docs writes it again: $(diff "$tmp/page.1" etc/man/efficientai-toolkit.1 | head -5)"; fi
if ! command -v groff >/dev/null; then skip "the manual page is sound (groff is not here)"
elif [ -z "$(groff -Kutf8 -man -ww -z "$tmp/page.1" 2>&1)" ]; then ok "the manual page is sound"
else not_ok "the manual page is sound" "$(groff -Kutf8 -man -ww -z "$tmp/page.1" 2>&1 | head)"; fi
if ! command -v jq >/dev/null; then skip "every command of the tables is in the reference (jq is not here)"
else
  missing=
  for name in $("$exe" help --json | jq -r '.results.groups[] | .namespace as $g | .commands[] | if .name == ($g | gsub("_"; "-")) then .name else ($g | gsub("_"; "-")) + "+" + .name end'); do
    grep -q "^### $(echo "$name" | tr + ' ')\$" "$tmp/commands.md" || missing="$missing $name"
  done
  if [ -z "$missing" ]; then ok "every command of the tables is in the reference"; else not_ok "every command of the tables is in the reference" "missing:$missing"; fi
fi
run "$exe" docs --json
expect_contains out '"format":"markdown"' "docs has a document"
run "$exe" docs runs
expect_contains out "### runs prune" "docs of one built-in"
run "$exe" docs lora-finetuning-mlx
expect_contains out "### lora-finetuning-mlx:train" "docs of one project"
run "$exe" docs nothing-like-this
expect_fail 127 "unknown namespace 'nothing-like-this'" "docs of what is not there"
run "$exe" help lora-finetuning-mlx:train
expect_contains out "--data doors.jsonl --output doors --rank 8 --epochs 4" "help shows the examples of the project's README"
run "$exe" help lora:train
expect_contains out "lora-finetuning-mlx:train" "help takes the unique beginning of a namespace"
run "$exe" help runs prune
expect_contains out "--keep N" "help of a built-in's command"
run "$exe" runs prune --help
expect_contains out "--keep N" "and by --help"
run "$exe" runs prnue --help
expect_fail 127 "did you mean 'prune'?" "a mistyped command of a built-in"

# On a terminal nothing is wider than it, but for words that are longer by themselves.
if ! command -v expect >/dev/null; then skip "help, info and setup fit narrow terminals (expect is not here)"
else
  cat >"$tmp/width.exp" <<'END'
log_user 0
set timeout 20
spawn -noecho sh -c "stty columns [lindex $argv 0] rows 50; exec [lrange $argv 1 end]"
set all ""
expect {
  -re ".+" { append all $expect_out(buffer); exp_continue }
  eof {}
}
puts $all
END
  for columns in 20 40 80; do
    for words in "help" "help lora-finetuning-mlx:generate" "info" "setup --dry-run"; do
      # shellcheck disable=SC2086
      TERM=xterm NO_COLOR=1 expect "$tmp/width.exp" "$columns" "$exe" $words | tr -d '\r' >"$tmp/shown"
      wide=$(awk -v most="$columns" 'length($0) > most && !/^  efficientai-toolkit / { longest = 0; for (i = 1; i <= NF; i++) if (length($i) > longest) longest = length($i); if (longest + (most < 40 ? 4 : 27) <= most) print }' "$tmp/shown" | head -3)
      if [ "$(wc -l <"$tmp/shown")" -gt 10 ] && [ -z "$wide" ]; then ok "$words fits a terminal of $columns columns"
      else not_ok "$words fits a terminal of $columns columns" "$wide"; fi
    done
  done
fi
