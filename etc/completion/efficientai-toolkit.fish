# Completion of efficientai-toolkit for fish. In ~/.config/fish/config.fish:   efficientai-toolkit complete --print fish | source

function __efficientai_toolkit_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l plain (string unescape -- "$word"; or string trim --left --chars "'\"" -- "$word")
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    test (string replace -r '.*/' '' -- $program) = efficientai-toolkit; or set program efficientai-toolkit
    $program complete --shell fish -- $words "$plain" 2>/dev/null
end
complete -c efficientai-toolkit -f -k -a '(__efficientai_toolkit_complete)'
# Only fish itself can complete behind a '~' and keep it.
complete -c efficientai-toolkit -n 'string match -q "~*" -- (commandline -ct)' -F
