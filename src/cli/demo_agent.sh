#!/bin/sh
# The demonstration agent: one process a turn. It gets one JSON document on its standard input, and what it prints is the reply.
# Special texts: "sleep N" is a turn of N seconds, "whoami" prints its profile and the names of its secrets.

read -r document
text=${document#*\"event\":}
text=${text#*\"text\":\"}
# Up to the first quote that is not escaped; escapes stay as they are.
text=$(printf '%s\n' "$text" | sed 's/^\(\([^"\\]\|\\.\)*\)".*/\1/')

case $text in
"sleep "*)
    seconds=${text#sleep }
    case $seconds in
    '' | *[!0-9]*) echo "How long? Try: sleep 10"; exit 0 ;;
    esac
    echo "Working for $seconds s as profile \"$HERMES_PROFILE\" ..."
    sleep "$seconds"
    echo "Done after $seconds s."
    ;;
whoami)
    echo "I run as profile \"$HERMES_PROFILE\"."
    echo "Secrets in my environment: $(env | sed -n 's/^\(DEMO_[A-Z_]*\)=.*/\1/p' | sort | tr '\n' ' ')"
    ;;
fail)
    echo "I give up." >&2
    exit 3
    ;;
*)
    echo "Profile \"$HERMES_PROFILE\" got your message."
    sleep 0.4
    echo "You said: $text"
    sleep 0.4
    echo "(This answer came line by line from a process of its own.)"
    ;;
esac
