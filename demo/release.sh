# release.sh: apply a version, follow its Release to the end, tell what the status says of it. Sourced, never run.
# shellcheck shell=bash

release() { # release VERSION: what a pipeline does
  sed "s/@VERSION@/$1/g" "$here/manifests/release.yaml" | kubectl apply -f - | quote
}

status() { jq -r "$1 // \"\"" <<<"$now"; } # status JQ-PATH: of the Release as last read

header_reaches() { # header_reaches VERSION: ten requests with the canary header, ten answers from it
  local n=0
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    curl -s -m 5 -H "Host: shop.example" -H "x-canary: true" "$url" | grep -q "version=$1 " && n=$((n + 1))
  done
  [ $n = 10 ]
}

follow() { # follow VERSION SECONDS: print each change until the Release has ended for the generation just applied
  local version=$1 end=$((SECONDS + $2)) line last='' colour
  header_result=''
  rm -f "$work/pods-observed"
  printf '      %s%-5s %-12s %-5s %-7s %-24s %s%s\n' "$bold" TIME STATUS STEP WEIGHT ANSWERS REASON "$plain"
  while :; do
    now=$(shop get release checkout -o json)
    case $(status .status.phase) in
      Stepping) # once, while the candidate's share is small
        if [ -z "$header_result" ] && [ "$(status .status.weight)" -gt 0 ] 2>/dev/null; then
          header_result=$(header_reaches "$version" && echo yes || echo no)
        fi ;;
      Observing) # as it begins: all pods of the new version, before the Deployment has taken any of them over
        [ -s "$work/pods-observed" ] || pods "$version" >"$work/pods-observed" ;;
    esac
    line=$(jq -r '.status | "\(.phase)|\(.step)|\(.weight)|\(.message)"' <<<"$now")
    if [ "$line" != "$last" ] && [ "$(status .status.observedGeneration)" = "$(status .metadata.generation)" ]; then
      last=$line
      case $(status .status.phase) in
        Succeeded) colour=$green ;;
        Draining | Reverting | RolledBack | RollbackFailed) colour=$red ;;
        Observing | Promoting) colour=$blue ;;
        *) colour=$yellow ;;
      esac
      printf '      %-5s %s%-12s%s %-5s %-7s %-24s %s\n' "$(clock)" "$colour" "$(status .status.phase)" "$plain" \
        "$(status .status.step)" "$(jq -r '.status.weight | if . == null then "" else "\(.) %" end' <<<"$now")" "$(answers)" "$(status .status.message)"
    fi
    [ "$(status .status.result.generation)" != "$(status .metadata.generation)" ] || return 0
    [ $SECONDS -lt $end ] || { say "${red}the Release did not end within $2 s$plain"; return 1; }
    sleep 0.3
  done
}

report() { # report JQ-PATH: of the rollback's report
  jq -r "(.status.history[-1].report // .status.state.rolledBack.report) | $1 // \"\"" <<<"$now"
}

between() { # between EARLIER LATER: seconds, to the hundredth
  [ -n "$1" ] && [ -n "$2" ] && awk -v a="$(date -d "$1" +%s.%N)" -v b="$(date -d "$2" +%s.%N)" 'BEGIN {printf "%.2f s", b - a}' || echo "not known"
}

print_report() { # the times of the rollback, counted from the decision
  local decided
  decided=$(report .decidedAt)
  say "decided      $decided"
  say "written      + $(between "$decided" "$(report .writtenAt)")"
  say "confirmed    + $(between "$decided" "$(report .confirmedAt)")"
  say "last answer  + $(between "$decided" "$(loaded -r ".versions.$1.last // \"\"")")   (of $1, as the load generator saw it)"
  say "proven       + $(between "$decided" "$(report .provenAt)")   by $(report .proof)"
  say "recovered    + $(between "$decided" "$(report .recoveredAt)")"
  say "failed       $(report .requestsFailed) requests by the counters of $1's pods, those with the header included"
}
