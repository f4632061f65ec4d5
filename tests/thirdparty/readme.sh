#!/bin/sh
# What the README shows of a project compiles, runs and keeps its promises.
. tests/lib.sh
lines=$(awk '/^## Write your own project/ { on = 1 } /^## Map/ { on = 0 } on' README.md | wc -l)
if [ "$lines" -gt 5 ] && [ "$lines" -le 30 ]; then ok "the README explains a project in at most 30 lines"; else not_ok "the README explains a project in at most 30 lines" "$lines"; fi
{
  echo '#include <etk/project.h>'
  awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' README.md
} >"$tmp/project.c"
run build_plugin "$tmp/project.c" my-project "$tmp/plugins" -Werror
expect_exit 0 "its example compiles without a warning"
run "$exe" --plugin-dir "$tmp/plugins" my-project:greet World
expect_exit 0 "it runs"
expect_contains out "World" "and greets"
run "$exe" --plugin-dir "$tmp/plugins" my-project:greet World --times 10
expect_fail 2 "--times" "its limits hold"
run "$exe" check "$tmp/plugins/libproj-my-project.so"
expect_exit 0 "it passes check"
