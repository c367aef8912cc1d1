#!/bin/sh
# Every night: what is on the Hub, at which commits, ranked on your task; in use if the policy holds.
#
#   TASK=/data/plates examples/nightly.sh STATE_FOLDER
#
# STATE_FOLDER keeps zoo.yaml, zoo.lock.yaml, ranking.json and what is made of it. ranking.json is
# the ranking in use: it is only replaced by one that is whole and that the gate lets through.
#
# Exit codes: 0 ranking.json is of tonight; 4 the policy is violated and 75 the Hub is down: in both
# cases ranking.json is yesterday's; others: something is wrong that tomorrow will not mend.
#
# From the environment:
#   TASK              what --task of `selector rank` takes
#   POLICY            file of the gate. Default: policy.yaml beside this script
#   GATE_FORMAT       text, or github for annotations of a workflow
#   DISCOVER_OPTIONS  more options of `selector discover`, separated by spaces
#   RANK_OPTIONS      more options of `selector rank`
#
# It says `selector` and not `select`, which is a word of bash and zsh.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
task=${TASK:?must name labelled images: a folder, a table, or hf:owner/name}
policy=${POLICY:-$here/policy.yaml}
gate_format=${GATE_FORMAT:-text}

# Before the folder changes: a task and a policy may be named relative to here.
case $task in /* | hf:* | builtin:*) ;; *) task=$(pwd)/$task ;; esac
case $policy in /*) ;; *) policy=$(pwd)/$policy ;; esac

mkdir -p "${1:?must be a folder for what is kept from night to night}"
cd "$1"

say() {
    echo "nightly: $*" >&2
}

# Run a command whose exit code means something, and which must not end the script: sets $code.
run() {
    code=0
    "$@" || code=$?
}

keep_yesterdays() {
    say "$1; ranking.json stays as it was"
    exit "$2"
}

# --- which candidates there are ---------------------------------------------------------------
# Gated repositories would fail every night where nobody is there to ask for access.
# shellcheck disable=SC2086  # options are words
run selector discover --license apache-2.0 --license mit --max-params 100M --no-gated --limit 20 \
    -o zoo.yaml ${DISCOVER_OPTIONS-}
case $code in
    0) ;;
    75) keep_yesterdays "the Hub is down" 75 ;;
    *) keep_yesterdays "no candidates (discover: $code)" "$code" ;;
esac

# --- which commits and bytes they mean tonight ------------------------------------------------
locked=--locked
run selector lock --registry zoo.yaml
case $code in
    0) ;;
    # What could not be looked up means what it meant yesterday. A new one without a pin is measured
    # if it can be, else it is skipped with its reason; --locked would refuse all for its sake.
    3) locked= && say "some candidates could not be looked up" ;;
    75) keep_yesterdays "the Hub is down" 75 ;;
    *) keep_yesterdays "nothing could be locked (lock: $code)" "$code" ;;
esac

# --- how robust they will be ------------------------------------------------------------------
# What an earlier night has measured of the same commit, on the same images, is not measured again.
rm -f ranking.new.json
# shellcheck disable=SC2086
run selector rank --registry zoo.yaml $locked --task "$task" -o ranking.new.json ${RANK_OPTIONS-}
case $code in
    0) ;;
    # Whether that is too many is a matter of the policy: max_skipped.
    3) say "some candidates could not be measured" ;;
    75) keep_yesterdays "the Hub is down" 75 ;;
    *) keep_yesterdays "no ranking (rank: $code)" "$code" ;;
esac

# --- what has changed, for people -------------------------------------------------------------
selector report ranking.new.json -o report.html
rm -f compare.md
if [ -e ranking.json ]; then
    # It refuses rankings of different questions, as on the night after TASK has changed.
    run selector compare ranking.json ranking.new.json --format markdown >compare.md
    [ "$code" = 0 ] || { rm -f compare.md && say "cannot be compared with the last ranking"; }
fi

# --- whether it may be used -------------------------------------------------------------------
run selector gate ranking.new.json --policy "$policy" --format "$gate_format"
case $code in
    0) ;;
    4) keep_yesterdays "the policy is violated, see ranking.new.json and report.html" 4 ;;
    *) keep_yesterdays "the gate cannot judge (gate: $code)" "$code" ;;
esac
[ ! -e ranking.json ] || mv ranking.json ranking.previous.json
mv ranking.new.json ranking.json

# --- what to tell of the choice ---------------------------------------------------------------
# A file to look at. To propose it to the publisher, a person adds: --push --create-pr
choice=$(python3 -c '
import json, sys
choice = json.load(open(sys.argv[1], encoding="utf-8"))["choice"]
print(choice["name"] if choice else "")
' ranking.json)
rm -f card.yaml
# A masked choice has no card: its numbers flatter.
selector card -o card.yaml -- ranking.json "$choice" || say "no card for ${choice:-nobody}"
say "chosen: ${choice:-nobody}"
