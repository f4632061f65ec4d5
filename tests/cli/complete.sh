# Completion: what the program answers, and sessions in the real shells.
. tests/lib.sh
mkdir -p "$tmp/bin" "$tmp/home" "$tmp/work/sub/inner" "$tmp/work/other" "$tmp/plain"
touch "$tmp/work/a file.txt" "$tmp/work/plain.txt" "$tmp/work/sub/in.txt" "$tmp/home/home.txt"
cat >"$tmp/only.c" <<'END'
#include <etk/project.h>
#define COMMANDS(CMD) CMD(only, ETK_NONE, ETK_NONE, 0, "The one command")
ETK_PROJECT("special", "1.0.0", "In a folder of its own", COMMANDS)
static etk_status only_run(etk_run *run, const struct only_options *o) { return (void)run, (void)o, ETK_OK; }
END
build_plugin "$tmp/only.c" special "$tmp/work/other" || exit 1
build_plugin tests/cli/plugins/demo.c demo "$tmp/p" || exit 1

# fish has the plainest answer: words with their help.
ask() { run "$exe" complete --shell fish -- efficientai-toolkit "$@"; words=$(printf '%s' "${out:+$out
}" | cut -f1 | tr '\n' ' '); }
offers() { # WORDS TEXT
  if [ "$words" = "$1" ] && [ "$status" -eq 0 ]; then ok "$2"; else not_ok "$2" "offered '$words', wanted '$1'"; fi
}
bash_line() { run "$exe" complete --shell bash --tail="$2" -- "$1"; words=$(printf '%s\n' "$out" | sed 1d | tr '\n' ' '); }

export EFFICIENTAI_PLUGIN_PATH="$tmp/p"
ask demo:ki
offers "demo:kinds " "a command of a namespace"
ask lora:tr
offers "lora-finetuning-mlx:train " "an abbreviated namespace is written in full"
ask demo ki
offers "kinds " "a namespace and its command as two words"
ask nosuch:x
offers "" "an unknown namespace offers nothing"
ask runs sh
offers "show " "a command of a built-in"
ask runs show --js
offers "--json " "an option of the host where it means something"
ask runs show --pro
offers "--progress " "and none that a built-in refuses"
ask demo:kinds w --whole 3 --wh
offers "" "an option that was given is not offered again"
ask demo:kinds w --tex
offers "--texts " "one that may be repeated is"
ask demo:kinds w --texts a --tex
offers "--texts " "also when it was given"
ask demo:kinds w --no-s
offers "--no-sure " "a flag that is on has an opposite"
ask demo:kinds w --frac
offers "--fraction " "another name of an option"
ask demo:kinds w --loud=
offers "--loud=yes --loud=no " "the values of a flag"
ask demo:kinds w --method l
offers "linear " "a word of a choice"
ask demo:kinds w --method ''
case "$out" in *"linear	the default"*) ok "the default is marked" ;; *) not_ok "the default is marked" ;; esac
ask demo:kinds w -n
offers "-n " "a letter"
ask demo:kinds w -- --wh
offers "" "after -- nothing is an option"
ask demo:kinds w --key ''
offers "@ " "a secret is a file"
ask demo:kinds --set deep.er.met
offers "deep.er.method= " "a key of the configuration"
ask demo:kinds --set deep.er.method=li
offers "deep.er.method=linear " "and its value"
ask demo:kinds --set basic.loc
offers "" "an option for the command line alone has no key"
ask demo:kinds --mem
offers "--memory " "an advanced option, once its name is begun"
ask help dem
offers "$("$exe" help demo --json | tr '{' '\n' | sed -n 's/^"name":"\([^"]*\)","summary".*/demo:\1/p' | tr '\n' ' ')" "help takes whatever can be called"
ask --color al
offers "always " "the words of an option of the host"
"$exe" --plugin-dir "$tmp/work/other" special:only >/dev/null 2>&1
ask --plugin-dir "$tmp/work/other" special:
offers "special:only " "a --plugin-dir on the line is looked into"
ask runs show ''
offers "" "there is no run to show yet"
"$exe" demo:train --steps 1 >/dev/null 2>&1
id=$("$exe" runs list --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
ask runs show ''
offers "latest $id " "the recorded runs, by their ids"
case "$out" in *"$id	demo:train"*) ok "with what they ran" ;; *) not_ok "with what they ran" ;; esac

ask help runs me
offers "metrics " "help takes the commands of a group"
ask help demo sp
offers "speak " "and those of a project"
ask benchmark lora
offers "lora-finetuning-mlx " "benchmark takes namespaces"
ask benchmark demo:
offers "" "whose cases are asked of code, which does not run here"
ask benchmark --baseline ''
offers "" "there is no baseline yet"
mkdir -p "$XDG_STATE_HOME/efficientai-toolkit/benchmarks/baselines"
touch "$XDG_STATE_HOME/efficientai-toolkit/benchmarks/baselines/main.json" "$XDG_STATE_HOME/efficientai-toolkit/benchmarks/20260101T000000Z-aaaaaa.json" \
  "$XDG_STATE_HOME/efficientai-toolkit/benchmarks/20260102T000000Z-bbbbbb.json"
ask benchmark --baseline ''
offers "main " "--baseline takes those that are kept"
ask benchmark --compare ''
offers "20260102T000000Z-bbbbbb 20260101T000000Z-aaaaaa latest " "--compare takes stored runs, the newest first"
ask runs plot --metric ''
offers "$("$exe" runs metrics latest --json | tr '{' '\n' | sed -n 's/.*"name":"\([^"]*\)".*/\1/p' | sort -u | tr '\n' ' ')" "--metric takes what the newest run recorded"
ask runs plot nosuch --metric ''
offers "" "or nothing where there is no such run"
bash_line 'efficientai-toolkit demo:ki' 'demo:ki'
offers "demo:kinds " "bash gets the whole word where it replaces the whole word"
bash_line 'efficientai-toolkit demo:ki' 'ki'
offers "kinds " "and what follows the ':' where readline has cut there"
bash_line 'efficientai-toolkit demo:kinds w --method=li' 'li'
offers "linear " "and what follows the '='"
bash_line "efficientai-toolkit demo:kinds 'it is' --method li" 'li'
offers "linear " "quotes before the cursor are understood"
run "$exe" complete --shell bash
expect_exit 2 "a request that is not whole is an error"
run "$exe" complete --print tcsh
expect_fail 2 "bash, zsh, fish" "an unknown shell is an error"
run "$exe" help
expect_lacks out "complete " "completion is not listed in help"
for shell in bash zsh fish; do
  "$exe" complete --print "$shell" >"$tmp/printed"
  case $shell in zsh) file=etc/completion/_efficientai-toolkit ;; *) file=etc/completion/efficientai-toolkit.$shell ;; esac
  if cmp -s "$tmp/printed" "$file"; then ok "--print $shell prints the file that is installed"; else not_ok "--print $shell prints the file that is installed"; fi
done

# A plugin that writes a file when its code runs, and one without a note, which would have to be loaded and asked.
cat >"$tmp/loud.c" <<'END'
#include <etk/project.h>
#include <stdlib.h>
#define COMMANDS(CMD) CMD(speak, ETK_NONE, ETK_NONE, 0, "Say it")
ETK_PROJECT("NAME", "1.0.0", "Loud", COMMANDS)
static etk_status speak_run(etk_run *run, const struct speak_options *o) { return (void)run, (void)o, ETK_OK; }
__attribute__((constructor)) static void begin(void) { int r = system("touch \"$LOUD\""); (void)r; }
END
sed 's/NAME/loud/' "$tmp/loud.c" >"$tmp/loud1.c"
sed 's/NAME/mute/' "$tmp/loud.c" >"$tmp/mute1.c"
build_plugin "$tmp/loud1.c" loud "$tmp/p" && build_plugin "$tmp/mute1.c" mute "$tmp/p" && objcopy --remove-section .note.etk "$tmp/p/libproj-mute.so" 2>/dev/null
LOUD="$tmp/was-run" ask loud:
offers "loud:speak " "a plugin is completed from its note"
LOUD="$tmp/was-run" ask mute:
offers "" "one without a note is passed over"
if [ ! -e "$tmp/was-run" ]; then ok "and no plugin's code was run"; else not_ok "and no plugin's code was run"; fi
rm -f "$tmp/p/libproj-loud.so" "$tmp/p/libproj-mute.so"
unset EFFICIENTAI_PLUGIN_PATH

cat >"$tmp/bin/efficientai-toolkit" <<END
#!/bin/sh
case "\$1" in complete) exec "$exe" "\$@" ;; esac
printf GOT
printf '[%s]' "\$@"
echo
END
chmod +x "$tmp/bin/efficientai-toolkit"
root=$PWD
for shell in bash zsh fish; do
  if ! command -v $shell >/dev/null || ! command -v expect >/dev/null; then
    skip "completion in $shell: $shell or expect is not installed"
    continue
  fi
  (cd "$tmp/work" && HOME="$tmp/home" PATH="$tmp/bin:$PATH" ZDOTDIR="$tmp/home" LC_ALL=C.UTF-8 expect "$root/tests/cli/completion.exp" $shell "$id" "$root/etc/completion")
done
