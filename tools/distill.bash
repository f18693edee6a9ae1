# bash completion for distill; source it, or install it as
# /usr/share/bash-completion/completions/distill. Commands, options and keys are asked of the program
# itself, so that they are always those of the version at hand.

_distill_commands() {
    "$1" --help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\)  .*/\1/p'
}

_distill_options() {
    "$1" "$2" --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p'
}

# train.epochs= loss.kl= …
_distill_keys() {
    { "$1" schema --markdown; "$1" schema --task speech --markdown; } 2>/dev/null | awk '
        /^### / { sub(/^### /, ""); sub(/: .*/, ""); prefix = $0 == "The whole" ? "" : $0 "."; next }
        /^\| `/ && prefix !~ /\[\]/ { split($0, cell, "`"); print prefix cell[2] "=" }' | sort -u
}

_distill() {
    local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]}
    local before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_distill_commands "$program") --help --version" -- "$word")
    elif [ "$before" = --set ]; then
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W "$(_distill_keys "$program")" -- "$word")
    elif [ "$before" = --runs ]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_distill_options "$program" "$command")" -- "$word")
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

complete -F _distill distill
