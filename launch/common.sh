# What the launchers share: messages, options and quoting. Sourced, never run.
# shellcheck shell=bash

# One line about bad input, and exit code 2.
fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

# The comment at the top of a launcher is its help.
usage() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"
  exit 0
}

unknown() { # OPTION
  case $1 in
    --config* | --workdir* | --input*) fail "'$1' belongs to the program: write it after --" ;;
    *) fail "unknown option '$1': options are written --name=value, the program's own come after --; --help lists them" ;;
  esac
}

# A whole number of at least MIN.
number() { # OPTION VALUE MIN
  if ! [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] || (($2 < $3)); then
    fail "$1=$2: wanted a whole number from $3 on"
  fi
}

# A time as Slurm writes it, or nothing.
duration() { # OPTION VALUE
  [[ -z $2 || $2 =~ ^([0-9]+-)?[0-9]+(:[0-9]{2}){0,2}$ ]] || fail "$1=$2: wanted minutes, HH:MM:SS or D-HH:MM:SS"
}

wanted() { # OPTION VALUE WHAT
  [ -n "$2" ] || fail "$1 is missing: give $1=$3"
}

# The program's options hold one that starts with OPTION=.
among() { # OPTION WHAT ARGUMENTS...
  local option=$1 what=$2 word
  shift 2
  for word; do
    case $word in "$option"=?*) return ;; esac
  done
  fail "$option is missing after --: $what"
}

# Words as a shell reads them; letters of any language stay as they are.
quote() { # WORDS...
  local word quoted="'\\''" line=
  for word; do
    if [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]]; then
      line+=" $word"
    else
      line+=" '${word//\'/$quoted}'"
    fi
  done
  printf '%s' "${line# }"
}

# A command that must be here.
needs() { # COMMAND WHERE-FROM
  command -v "$1" >/dev/null || fail "no $1 on this machine: $2; --dry-run shows what would be sent without it"
}
