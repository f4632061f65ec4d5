#!/bin/sh
# Makes the training data of the embedded model: English descriptions and the shell command that does it.
#   prepare.sh TLDR_PAIRS.tsv NL2BASH_DIR OUT_DIR
# TLDR_PAIRS: "description<TAB>command" with {{placeholders}}, from tldr-pages (CC-BY-4.0). NL2BASH_DIR: all.nl and all.cm of nl2bash (MIT).
# OUT_DIR gets train.jsonl, valid.jsonl and test.jsonl, lines of {"text": "<description>\n$ <command>"}. A description is in one split only, chosen by a
# checksum of its letters, so that no rewording of case or spacing leaks from training into the held-out data.
set -eu
[ $# -eq 3 ] || { echo "usage: $0 TLDR_PAIRS.tsv NL2BASH_DIR OUT_DIR" >&2; exit 2; }
mkdir -p "$3"
{
  # Placeholders lose their braces, {{[-s|--long]}} becomes the short form, mnemonics like "[r]aw" lose their brackets.
  awk -F '\t' 'NF == 2 {
    d = $1; c = $2
    gsub(/`/, "", d)
    while (match(d, /\[[A-Za-z]+\]/)) d = substr(d, 1, RSTART - 1) substr(d, RSTART + 1, RLENGTH - 2) substr(d, RSTART + RLENGTH)
    while (match(c, /\{\{\[[^]|]*\|[^]]*\]\}\}/)) {
      m = substr(c, RSTART + 3, RLENGTH - 6); sub(/\|.*/, "", m)
      c = substr(c, 1, RSTART - 1) m substr(c, RSTART + RLENGTH)
    }
    gsub(/\{\{/, "", c); gsub(/\}\}/, "", c)
    print d "\t" c
  }' "$1"
  paste "$2/all.nl" "$2/all.cm" | awk -F '\t' 'NF == 2'
} | LC_ALL=C awk -F '\t' -v out="$3" '
  BEGIN { for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i }
  function quoted(s,   r, i, ch) {
    r = ""
    for (i = 1; i <= length(s); i++) {
      ch = substr(s, i, 1)
      if (ch == "\\" || ch == "\"") r = r "\\" ch
      else if (code[ch] >= 32) r = r ch
    }
    return r
  }
  {
    d = $1; c = $2
    gsub(/[ \t\r]+/, " ", d); gsub(/^ | $/, "", d); sub(/[.:]$/, "", d); gsub(/^[ \t]+|[ \t\r]+$/, "", c)
    if (length(d) < 4 || length(d) > 240 || length(c) < 2 || length(c) > 240 || seen[d "\t" c]++) next
    key = tolower(d); gsub(/[^a-z]/, "", key)
    h = 7
    for (i = 1; i <= length(key); i++) h = (h * 31 + code[substr(key, i, 1)]) % 1000003
    split_name = h % 100 < 2 ? "test" : h % 100 < 4 ? "valid" : "train"
    print "{\"text\": \"" quoted(d) "\\n$ " quoted(c) "\"}" > (out "/" split_name ".jsonl")
  }'
wc -l "$3"/*.jsonl >&2
