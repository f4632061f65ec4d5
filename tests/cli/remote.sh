# --remote, against a real sshd on the loopback where there is one, else against a stand-in for ssh that runs the command line here.
. tests/lib.sh
plugins=$tmp/plugins
build_plugin tests/cli/plugins/demo.c demo "$plugins" || { not_ok "the demo plugin builds"; exit 1; }
sshd=$(command -v sshd || ls /usr/sbin/sshd 2>/dev/null)
here() { "$exe" --remote "$machine" --plugin-dir "$plugins" "$@"; }

# A stand-in: the last word is the command line, as sshd gives it to the user's shell.
cat >"$tmp/fake-ssh" <<'END'
#!/bin/sh
for word; do case "$word" in -Oexit) exit 0 ;; esac; last=$word; done
case "$FAKE_SSH" in refuse) exit 255 ;; esac
exec sh -c "$last"
END
chmod +x "$tmp/fake-ssh"
export EFFICIENTAI_REMOTE_PROGRAM="$exe"

start_sshd() {
  [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
  ssh-keygen -q -t ed25519 -N '' -f "$tmp/host_key" && ssh-keygen -q -t ed25519 -N '' -f "$tmp/key" || return 1
  cp "$tmp/key.pub" "$tmp/authorized"
  for port in 42022 43122 44222 45322 46422; do
    cat >"$tmp/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $tmp/host_key
AuthorizedKeysFile $tmp/authorized
PidFile $tmp/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv EFFICIENTAI_STATE_DIR=$tmp/there XDG_CONFIG_HOME=$tmp/config XDG_CACHE_HOME=$tmp/cache
END
    "$sshd" -f "$tmp/sshd_config" -E "$tmp/sshd.log" || continue
    cat >"$tmp/ssh-real" <<END
#!/bin/sh
exec ssh -F none -p $port -i $tmp/key -oIdentitiesOnly=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=$tmp/known -oLogLevel=ERROR -oBatchMode=yes "\$@"
END
    chmod +x "$tmp/ssh-real"
    tries=0
    until "$tmp/ssh-real" "$(id -un)@127.0.0.1" true 2>"$tmp/.ssh"; do
      tries=$((tries + 1))
      [ $tries -lt 20 ] || return 1
    done
    return 0
  done
  return 1
}

if [ -n "$sshd" ] && command -v ssh >/dev/null && start_sshd; then
  export EFFICIENTAI_SSH="$tmp/ssh-real"
  machine="$(id -un)@127.0.0.1"
  trap 'kill "$(cat "$tmp/sshd.pid")" 2>/dev/null; rm -rf "$tmp"' EXIT
else
  skip "a real sshd (it is not here or cannot be started): a stand-in takes its place"
  export EFFICIENTAI_SSH="$tmp/fake-ssh" EFFICIENTAI_STATE_DIR="$tmp/there"
  machine=user@machine
fi

run "$exe" --plugin-dir "$plugins" demo:table
wanted=$out
run here demo:table
expect_exit 0 "a command runs on the other machine"
if [ "$out" = "$wanted" ]; then ok "and its output is the same as here"; else not_ok "and its output is the same as here"; fi
run here demo:kinds "it's \$HOME; \`x\` \"y\" *" --json
expect_contains out "it's \$HOME; \`x\` \\\"y\\\" *" "words cross whatever they hold"
run here demo:fail
expect_exit "$( "$exe" --no-run --plugin-dir "$plugins" demo:fail >/dev/null 2>&1; echo $?)" "the exit code is the one from there"
run here demo:trian
expect_fail 127 "did you mean 'train'?" "and so are errors"
run here runs list --json
expect_contains out '"command":"fail"' "runs are recorded there"
run "$exe" demo:speak hello --plugin-dir "$plugins" "--remote=$machine"
expect_exit 0 "--remote may stand anywhere"
run "$exe" --remote "$machine" -- version
expect_exit 0 "what follows -- crosses as it is"

here --json demo:table | sed 's/"duration_ms":[0-9.]*//' >"$tmp/there.json"
"$exe" --json --plugin-dir "$plugins" demo:table | sed 's/"duration_ms":[0-9.]*//' >"$tmp/here.json"
if cmp -s "$tmp/there.json" "$tmp/here.json" && grep -q '"schema_version":1' "$tmp/here.json"; then ok "a document crosses byte for byte"; else not_ok "a document crosses byte for byte"; fi

# Ctrl-C
env --default-signal=INT true 2>/dev/null && {
  env --default-signal=INT "$exe" --remote "$machine" --plugin-dir "$plugins" demo:wait >"$tmp/wait.out" 2>"$tmp/wait.err" &
  pid=$!
  until grep -qs ready "$tmp/wait.err" "$tmp/wait.out" || ls "$tmp"/there/runs/*/*/run.json 2>/dev/null | xargs grep -ls '"command":"wait"' 2>/dev/null | grep -q .; do
    kill -0 $pid 2>/dev/null || break
  done
  kill -INT $pid
  wait $pid
  status=$?
  out=$(cat "$tmp/wait.out") err=$(cat "$tmp/wait.err")
  expect_exit 130 "Ctrl-C stops the command there, and its exit code is told"
}

run env EFFICIENTAI__DEMO__BASIC__WHOLE=3 "$exe" --remote "$machine" version
expect_contains err "EFFICIENTAI__DEMO__BASIC__WHOLE is not sent to" "a variable that does not cross is told"
cat >"$tmp/older" <<'END'
#!/bin/sh
echo '{"schema_version":1,"results":{"version":"0.0.9","abi":"1.0"}}'
END
chmod +x "$tmp/older"
run env EFFICIENTAI_REMOTE_PROGRAM="$tmp/older" "$exe" --remote "$machine" version
expect_fail 1 "runs version 0.0.9 (ABI 1.0), this is" "another version there is refused"
run env EFFICIENTAI_REMOTE_PROGRAM="$tmp/nowhere" "$exe" --remote "$machine" version
expect_fail 3 "EFFICIENTAI_REMOTE_PROGRAM" "a machine without the program is told"
run env EFFICIENTAI_REMOTE_PROGRAM=true "$exe" --remote "$machine" version
expect_fail 1 "did not say its version" "a program that is another one is told"
run env EFFICIENTAI_SSH="$tmp/fake-ssh" FAKE_SSH=refuse "$exe" --remote nobody@nowhere version
expect_fail 3 "could not reach nobody@nowhere" "a machine that cannot be reached is told"
run env EFFICIENTAI_SSH="$tmp/no-ssh" "$exe" --remote nobody@nowhere version
expect_fail 3 "--remote needs ssh" "no ssh is told"
run "$exe" --remote -oProxyCommand=x version
expect_fail 2 "--remote" "a machine's name cannot be an option of ssh"
