# Completion of efficientai-toolkit for bash (4.2 and newer). In ~/.bashrc:   eval "$(efficientai-toolkit complete --print bash)"
#
# Words like NAMESPACE:COMMAND hold a ':', at which readline begins a new word: then it can complete what follows the ':', and not write an abbreviated
# namespace in full. So ':' is taken out of COMP_WORDBREAKS when this file is read. Who wants it back adds it after this file; completion works then too.
COMP_WORDBREAKS=${COMP_WORDBREAKS//:/}

_efficientai_toolkit() {
  local program=$1 heading line
  program=${program/#\~\//"$HOME/"}
  [[ ${program##*/} == efficientai-toolkit ]] || program=efficientai-toolkit
  COMPREPLY=()
  {
    IFS=$'\t' read -r -a heading || return 0
    while IFS= read -r line; do COMPREPLY+=("$line"); done
  } < <("$program" complete --shell bash --tail="$2" -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
  [[ ${heading[0]} == open ]] && compopt -o nospace
  [[ ${heading[1]} == paths ]] && compopt -o filenames
  return 0
}
complete -o nosort -F _efficientai_toolkit efficientai-toolkit 2>/dev/null || complete -F _efficientai_toolkit efficientai-toolkit
