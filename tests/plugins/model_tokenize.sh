# model tokenize through the host: a text, a file, lines; there and back; what is wrong with lines. Ids are those of a vocabulary that is spelled out here.
. tests/lib.sh
cat >"$tmp/tokenizer.json" <<'JSON'
{"added_tokens":[{"id":0,"content":"<s>","special":true},{"id":1,"content":"<mine>","special":false}],
 "pre_tokenizer":{"type":"WhitespaceSplit"},"decoder":{"type":"WordPiece","prefix":"##","cleanup":false},
 "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],
  "special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}},
 "model":{"type":"WordPiece","unk_token":"?","continuing_subword_prefix":"##","max_input_chars_per_word":100,
  "vocab":{"<mine>":1,"?":2,"a":3,"b":4,"##b":5,"é":6,"😀":7,"�":8}}}
JSON
tokenize() { run "$exe" model tokenize "$tmp/tokenizer.json" "$@"; }
lines() { # INPUT WANTED TEXT: both in printf's escapes
  printf "$1" >"$tmp/in"
  "$exe" model tokenize "$tmp/tokenizer.json" --jsonl - $options <"$tmp/in" >"$tmp/.out" 2>"$tmp/.err"
  status=$?
  printf "$2" >"$tmp/wanted"
  out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
  if [ $status -eq 0 ] && cmp -s "$tmp/.out" "$tmp/wanted"; then ok "$3"; else not_ok "$3"; fi
}

tokenize --text 'ab a <s> <mine> xyz'
expect_contains out '[3,5,3,0,1,2]' "a text gives ids, control and user-defined tokens among them"
expect_contains out '##b' "and a table of its tokens"
tokenize --text 'ab' --special
expect_contains out '[0,3,5]' "--special adds what stands in front"
tokenize --text '<s> <mine>' --parse-special=no
expect_contains out '[2,1]' "--parse-special=no leaves control tokens as text, user-defined ones count still"
run "$exe" --json model tokenize "$tmp/tokenizer.json" --text 'ab'
expect_contains out '"tokens":2,"ids":[3,5],"pieces":[{"id":3,"token":"a","text":"a"}' "--json has the same"
printf 'a\nb' >"$tmp/file"
tokenize --file "$tmp/file"
expect_contains out '[3,4]' "a file is one text"
tokenize --decode --text '[3, 5,4]'
expect_contains out 'text  ab b' "--decode gives the text"
tokenize --decode --text '3 5'
expect_contains out 'text  ab' "of ids without brackets too"

options=
lines '"a"\n"a b"\n""\n' '[3]\n[3,4]\n[]\n' "each line is answered by a line"
lines '"a"' '[3]\n' "the last line needs no end"
lines '  "a"\t\r\n\n"b"\r\n' '[3]\n[4]\n' "blanks around and empty lines do not matter"
lines '"\\u0061\\t\\u00e9 \\ud83d\\ude00 \\/"\n' '[3,6,7,2]\n' "escapes, pairs among them"
lines '"\\ud800 \\udc00 \377"\n' '[8,8,8]\n' "half a pair, and a byte that is not UTF-8, are U+FFFD"
lines '"a\\u0000"\n' '[2]\n' "a zero byte is a character"
options=--decode
lines '[3,5]\n[]\n[ 4 , 0 ]\n' '"ab"\n""\n"b"\n' "--decode turns arrays into strings, without control tokens"
options="--decode --special"
lines '[0,4]\n' '"<s> b"\n' "--special keeps them"

wrong() { # INPUT WORDS TEXT [OPTION]
  printf "$1" >"$tmp/in"
  run "$exe" model tokenize "$tmp/tokenizer.json" --jsonl "$tmp/in" ${4:-}
  expect_fail 1 "$2" "$3"
}
wrong '"a"\nb\n' "$tmp/in:2: one JSON string is wanted" "a line that is no string is named"
wrong '"a\n' ":1: one JSON string is wanted" "a string without an end"
wrong '"a" 1\n' ":1: one JSON string is wanted" "something behind the string"
wrong '"\\x"\n' ":1: one JSON string is wanted" "an escape that JSON has not"
wrong '"\\u12g4"\n' ":1: one JSON string is wanted" "an escape with a wrong digit"
wrong '"\\u12' ":1: one JSON string is wanted" "an escape that is cut off"
wrong '3\n' ":1: one JSON array of token ids is wanted" "ids without brackets on a line" --decode
wrong '[3\n' ":1: one JSON array of token ids is wanted" "an array without an end" --decode
wrong '[-3]\n' ":1: one JSON array of token ids is wanted" "a negative id" --decode
wrong '[99999999999]\n' ":1: one JSON array of token ids is wanted" "an id beyond all numbers" --decode
tokenize
expect_fail 2 "one of --text, --file and --jsonl is wanted, 0 are there" "nothing to do is a usage error"
tokenize --text a --file "$tmp/file"
expect_fail 2 "2 are there" "so are two things"
tokenize --jsonl "$tmp/absent"
expect_fail 1 "absent: No such file" "a file that is not there"
run "$exe" --jsonl model tokenize "$tmp/tokenizer.json" --text 'ab'
expect_contains out '{"event":"result","name":"ids","value":[3,5]}' "before the command, --jsonl is the host's: events"

# Whoever writes a line and waits gets its answer: the second line is written only after the first answer was read.
mkfifo "$tmp/to" "$tmp/from"
"$exe" model tokenize "$tmp/tokenizer.json" --jsonl "$tmp/to" >"$tmp/from" 2>"$tmp/.err" &
exec 4<"$tmp/from" 3>"$tmp/to"
printf '"a"\n' >&3 && read -r first <&4 && printf '"b"\n' >&3 && read -r second <&4
exec 3>&- 4<&-
wait
if [ "$first $second" = "[3] [4]" ]; then ok "answers come line by line"; else not_ok "answers come line by line" "$first $second"; fi

run "$exe" model tokenize "$tmp/tokenizer.json" --decode --text '[0, 99999]'
expect_fail 1 "the id 99999 (place 1) is outside the vocabulary" "an id that no token has is named"
printf '[0]\n[-1]\n' >"$tmp/ids"
run "$exe" model tokenize "$tmp/tokenizer.json" --decode --jsonl "$tmp/ids"
expect_fail 1 ":2" "with its line"

# Memory does not grow with the number of lines.
if [ -n "${SAN:-}" ] || ! command -v python3 >/dev/null; then skip "memory over many lines (sanitizers, or no python3)"
else
  run python3 -c '
import os, subprocess, sys
def peak(lines):
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    for _ in range(lines // 1000): child.stdin.write(b"\"a b a b\"\n" * 1000)
    child.stdin.close()
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    return usage.ru_maxrss
small, large = peak(1000), peak(400000)
print("%d kB, %d kB" % (small, large))
sys.exit(large > small + 1024)' "$exe" model tokenize "$tmp/tokenizer.json" --jsonl -
  expect_exit 0 "400,000 lines need the memory of 1,000 ($out; a megabyte of difference is allowed)"
fi
