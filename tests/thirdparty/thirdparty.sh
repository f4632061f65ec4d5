#!/bin/sh
# A stranger's way: install the SDK, make a project outside this tree, build it, test it, install it, use it. C and C++.
. tests/lib.sh
[ -z "${SAN:-}" ] || { skip "a stranger has no sanitizer in the host"; exit 0; }
command -v pkg-config >/dev/null || { skip "pkg-config is not installed"; exit 0; }
root=$PWD stage=$tmp/stage
prefix=/opt/etk

# `make` is called as a user would call it: with nothing of the test's own make in its environment.
unset MAKEFLAGS MAKELEVEL MFLAGS 2>/dev/null
run make --no-print-directory B="$B" CC="$CC" PREFIX=$prefix DESTDIR="$stage" install
expect_exit 0 "make install DESTDIR=… installs"
missing=
for file in bin/efficientai-toolkit lib/libetk.so lib/libetk.so.1 lib/pkgconfig/etk.pc include/etk/project.h; do
  [ -e "$stage$prefix/$file" ] || missing="$missing $file"
done
if [ -z "$missing" ]; then ok "host, library, headers and pkg-config file are there"; else not_ok "host, library, headers and pkg-config file are there" "$missing"; exit 0; fi

# pkg-config puts the stage before each folder, as for any package that is staged.
export PKG_CONFIG_LIBDIR="$stage$prefix/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$stage" PATH="$stage$prefix/bin:$PATH"
unset PKG_CONFIG_PATH
exe=$stage$prefix/bin/efficientai-toolkit
run efficientai-toolkit version
expect_exit 0 "the installed host starts where it was put"

outside=$tmp/outside
mkdir "$outside"
cd "$outside" || exit 1
run efficientai-toolkit new my-project
expect_exit 0 "new makes a project"
lines=$(wc -l <my-project/README.md)
if [ "$lines" -le 30 ]; then ok "its README has at most 30 lines"; else not_ok "its README has at most 30 lines" "$lines"; fi
run sh -c 'cd my-project && find . -type f | sort | tr "\n" " "'
expect_contains out "./.gitignore ./Makefile ./README.md ./project.c ./tests/test.sh " "it has a source, a Makefile, a test, a README and a .gitignore"
run make -C my-project
expect_exit 0 "make builds it against the installed SDK"
expect_lacks err warning "without a warning"
run make -C my-project test
expect_exit 0 "make test passes"
expect_contains out "ok - greet succeeds" "and it runs the plugin through the host"
run make -C my-project install
expect_exit 0 "make install puts it into the user's folder"
run efficientai-toolkit projects --json
expect_contains out '"namespace":"my-project","version":"0.1.0"' "projects lists it"
expect_contains out '"state":"ok","reason":null' "as ok"
run efficientai-toolkit my-project:greet Ada --times 2 --json
expect_contains out '"greeting":"Hello, Ada!"' "it runs"
run efficientai-toolkit my-project greet Ada --tone sad
expect_fail 2 "friendly" "a wrong value is refused with the words that are allowed"
run efficientai-toolkit check my-project/libproj-my-project.so
expect_exit 0 "it passes check"
expect_lacks out warning "without a warning"
run make -C my-project clean
if [ -e my-project/libproj-my-project.so ]; then not_ok "make clean cleans"; else ok "make clean cleans"; fi

if command -v c++ >/dev/null; then
  run efficientai-toolkit new --cxx in-cxx "$outside/other name"
  expect_exit 0 "new --cxx makes one in C++, in a folder whose name has a blank"
  run make -C "$outside/other name" test
  expect_exit 0 "it builds and passes its test"
else
  skip "a project in C++: there is no c++"
fi

# ---- what new refuses ----
run efficientai-toolkit new my-project
expect_fail 1 "exists and is not an empty folder; nothing was written" "new does not overwrite"
run efficientai-toolkit new 05_Meta_Learning
expect_fail 2 "'meta-learning' would be" "an illegal namespace gets a legal one proposed"
run efficientai-toolkit new projects
expect_fail 2 "'projects-project' would be" "a word of the host's too"
run efficientai-toolkit new 日本
expect_fail 2 "'my-project' would be" "and one of which nothing is left"
run efficientai-toolkit new
expect_fail 2 "new needs namespace: its name" "new without a name says what it needs"
run efficientai-toolkit new a b c
expect_fail 2 "'c' is one argument too many" "new with too much says what is too much"
run efficientai-toolkit new a --fast
expect_fail 2 "unknown option --fast for new" "an unknown option is named"
mkdir empty
run efficientai-toolkit new fills-it empty --json
expect_contains out '"files":["project.c"' "an empty folder is filled, and --json lists the files"
run efficientai-toolkit new nowhere "$tmp/missing/deeper"
seen=$(ls "$tmp/missing" 2>/dev/null)
if [ "$status" -ne 0 ] && [ -z "$seen" ]; then ok "a folder that is not there leaves nothing behind"
elif [ "$status" -eq 0 ] && [ -e "$tmp/missing/deeper/Makefile" ]; then ok "a folder that is not there is made"
else not_ok "a folder that is not there is made whole or not at all"; fi
cd "$root" || exit 1

# A plugin links any of our libraries by pkg-config alone: no run path, no LD_LIBRARY_PATH.
unset LD_LIBRARY_PATH
cat >"$tmp/linked.c" <<'END'
#include <etk/archive.h>
#include <etk/chart.h>
#include <etk/generate.h>
#include <etk/hardware.h>
#include <etk/project.h>
#define COMMANDS(CMD) CMD(go, ETK_NONE, ETK_NONE, 0, "Draw a chart")
ETK_PROJECT("linked", "1.0.0", "Links all libraries", COMMANDS)
static etk_status go_run(etk_run *run, const struct go_options *o) {
  (void)o;
  static const double y[] = {1, 2, 3};
  const etk_chart_series series = {"s", NULL, y, NULL, NULL, 3};
  etk_chart chart = ETK_CHART_INIT;
  etk_text text = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  chart.series = &series, chart.series_count = 1;
  if (etk_chart_svg(&e, &text, &chart, false)) return etk_run_fail(run, e.status, "%s", e.message);
  etk_run_result_int(run, "svg_bytes", (int64_t)text.size);
  etk_run_result_text(run, "isa", etk_isa_name(etk_isa_active()));
  etk_run_result_flag(run, "archive", etk_archive_list(&e, "/nonexistent", NULL, NULL) != ETK_OK);
  etk_tensor_unref(NULL);
  etk_text_free(&text);
  return ETK_OK;
}
END
mkdir -p "$tmp/linked"
for libraries in "etk" "etk-ml" "etk-media" "etk-io" "etk-net" "etk etk-ml etk-media etk-io etk-net"; do
  # shellcheck disable=SC2046,SC2086
  case "$libraries" in
  "etk "*) $CC -std=c11 -Werror=implicit -fPIC -shared -fvisibility=hidden "$tmp/linked.c" $(pkg-config --cflags --libs $libraries) -o "$tmp/linked/libproj-linked.so" 2>"$tmp/.err" ;;
  *) sed 's/etk_chart_svg(.*)) return/0) return/; /etk_archive/d; /etk_tensor/d; /isa/d' "$tmp/linked.c" >"$tmp/one.c"
    $CC -std=c11 -Werror=implicit -fPIC -shared -fvisibility=hidden "$tmp/one.c" $(pkg-config --cflags --libs $libraries) -Wl,--no-as-needed -o "$tmp/linked/libproj-linked.so" 2>"$tmp/.err" ;;
  esac || { not_ok "a plugin links $libraries" "$(cat "$tmp/.err")"; continue; }
  run efficientai-toolkit --plugin-dir "$tmp/linked" linked:go --json
  expect_contains out '"svg_bytes"' "a plugin that links $libraries loads without a run path"
done
