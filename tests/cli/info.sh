#!/bin/sh
# info: this machine, machines of tests/hardware/, measured limits, a record; for a person and as JSON.
. tests/lib.sh
export XDG_CACHE_HOME="$tmp/cache"

run "$exe" info
expect_exit 0 "info succeeds"
for heading in Machine Cores Memory Libraries Folders; do expect_contains out "$heading" "info has the group $heading"; done
expect_lacks out "Measured" "info tells of no measurement before there was one"
widest=$(printf '%s\n' "$out" | awk '{ if (length($0) > n) n = length($0) } END { print n }')
[ "$widest" -gt 40 ] && ok "info does not break lines where there is no terminal" || not_ok "info does not break lines where there is no terminal" "widest line: $widest"

if command -v script >/dev/null 2>&1 && command -v stty >/dev/null 2>&1; then
  script -qec "stty cols 40 rows 24; NO_COLOR=1 '$exe' info --facts tests/hardware/apple-m3-max.facts" /dev/null </dev/null >"$tmp/narrow" 2>&1
  out=$(tr -d '\r' <"$tmp/narrow")
  if [ "$(printf '%s\n' "$out" | awk 'length($0) > 40' | wc -l)" -eq 0 ] && printf '%s' "$out" | grep -q 'Apple M3 Max'; then ok "info fits a terminal of 40 columns"; else not_ok "info fits a terminal of 40 columns"; fi
else
  skip "info fits a terminal of 40 columns (script or stty is not there)"
fi

run "$exe" info --json
expect_exit 0 "info --json succeeds"
printf '%s' "$out" | jq -e '.schema_version == 1 and .command == "info" and .status == "ok"' >/dev/null && ok "info --json is one document" || not_ok "info --json is one document"
missing=$(printf '%s' "$out" | jq -r '.results as $r | ["version","abi","platform","architecture","chip","apple_silicon","logical_cores","usable_cores","memory_bytes","memory_available_bytes","isa","isa_features","libraries","state_dir","plugin_path","family","variant","performance_cores","efficiency_cores","mlx_available","mps_available","ane_available","gpus","cpu_quota","container","thermal","power","limits","isa_active"] | map(select(. as $k | $r | has($k) | not)) | join(" ")')
[ -z "$missing" ] && ok "info --json has the fields that programs rely on" || not_ok "info --json has the fields that programs rely on" "missing: $missing"
cores=$(printf '%s' "$out" | jq .results.usable_cores)
[ "$cores" -ge 1 ] && [ "$cores" -le "$(nproc --all)" ] && ok "usable cores are at least one and at most what the machine has" || not_ok "usable cores are at least one and at most what the machine has" "$cores"
first=$(taskset -pc $$ 2>/dev/null | sed 's/.*: //; s/[^0-9].*//')
if [ -n "$first" ] && command -v taskset >/dev/null 2>&1; then
  cores=$(taskset -c "$first" "$exe" info --json | jq .results.usable_cores)
  [ "$cores" = 1 ] && ok "a process bound to one core may use one" || not_ok "a process bound to one core may use one" "$cores"
else
  skip "a process bound to one core may use one (taskset is not there)"
fi

# Replayed machines: every key of the expected file, and nothing known beyond it.
for facts in tests/hardware/*.facts; do
  name=$(basename "$facts" .facts)
  "$exe" info --facts "$facts" --json >"$tmp/seen.json" 2>"$tmp/err"
  wrong=$(jq -n --slurpfile s "$tmp/seen.json" --slurpfile w "tests/hardware/$name.json" '$s[0].results as $r | $w[0] as $w
    | [($w | keys[] | select($r[.] != $w[.])),
       ($r | to_entries[] | select(.key as $k | ["version","abi","limits"] | index($k) | not) | select(.key as $k | $w | has($k) | not)
          | select(.value != 0 and .value != "" and .value != false and .value != [] and .value != "unknown" and (.key != "battery_percent" or .value != -1)) | .key)] | join(" ")' -r)
  [ -s "$tmp/seen.json" ] && [ -z "$wrong" ] && ok "info --facts $name says what its sources say" || not_ok "info --facts $name says what its sources say" "differs: $wrong"
done
run "$exe" info --facts tests/hardware/container-2-of-64.facts
expect_contains out "2 of 64" "a container's share of the cores is shown"
expect_contains out "memory limit" "a container's memory limit is shown"
expect_lacks out "Folders" "a replayed machine has no folders of ours"
run "$exe" info --facts tests/hardware/apple-m1.facts
expect_contains out "Metal shaders (MPS) no" "macOS before 12.3 has no MPS"

printf '@fcat x 1\n' >"$tmp/bad.facts"
run "$exe" info --facts "$tmp/bad.facts"
expect_fail 1 "bad.facts:1:" "a broken facts file is named with its line"
run "$exe" info --facts "$tmp/none.facts"
expect_exit 2 "a facts file that is not there is a usage error"
run "$exe" info --facts "$tmp/bad.facts" --measure
expect_fail 2 "exclude each other" "--facts and --measure exclude each other"
run "$exe" info nonsense
expect_exit 2 "info takes no argument"

run "$exe" info --record
expect_exit 0 "info --record succeeds"
printf '%s\n' "$out" >"$tmp/here.facts"
host=$(uname -n)
if [ ${#host} -ge 4 ]; then expect_lacks out "$host" "the record does not hold the host's name"; else skip "the record does not hold the host's name ('$host' could be any word)"; fi
a=$("$exe" info --json | jq -S '.results | [.chip, .logical_cores, .usable_cores, .isa, .isa_features, .l2_bytes, .machine_memory_bytes, .container]' -c)
b=$("$exe" info --facts "$tmp/here.facts" --json | jq -S '.results | [.chip, .logical_cores, .usable_cores, .isa, .isa_features, .l2_bytes, .machine_memory_bytes, .container]' -c)
[ "$a" = "$b" ] && ok "a record of this machine replays as this machine" || not_ok "a record of this machine replays as this machine" "$a / $b"

run "$exe" info --measure --json
expect_exit 0 "info --measure succeeds"
printf '%s' "$out" | jq -e '.results.limits | .read_bytes_per_s > 1e8 and .copy_bytes_per_s > 1e8 and .f32_flops_per_s > 1e8 and .took_ms > 0' >/dev/null && ok "a measurement gives bandwidth and peak" || not_ok "a measurement gives bandwidth and peak"
measured=$(printf '%s' "$out" | jq .results.limits.read_bytes_per_s)
kept=$("$exe" info --json | jq .results.limits.read_bytes_per_s)
[ "$measured" = "$kept" ] && ok "the measurement is remembered" || not_ok "the measurement is remembered" "$measured / $kept"
run "$exe" info
expect_contains out "Measured" "info shows what was measured last"
run env EFFICIENTAI_THREADS=7 "$exe" info --json
printf '%s' "$out" | jq -e '.results.limits == null' >/dev/null && ok "a measurement holds for its thread count" || not_ok "a measurement holds for its thread count"
printf '{' >"$tmp/cache/efficientai-toolkit/limits.json"
run "$exe" info
expect_contains err "limits.json" "a damaged file of limits is named and the rest shown"
expect_exit 0 "a damaged file of limits is no failure"
if [ "$(id -u)" -ne 0 ]; then
  chmod 500 "$tmp/cache/efficientai-toolkit"
  run "$exe" info --measure
  expect_contains err "not kept" "a measurement that cannot be kept is shown all the same"
  chmod 700 "$tmp/cache/efficientai-toolkit"
else
  run env XDG_CACHE_HOME=/proc/nowhere "$exe" info --measure
  expect_contains err "not kept" "a measurement that cannot be kept is shown all the same"
fi

# A real cgroup with half a core and one with one and a half, where this user may make them.
cgroup_test() {
  if [ -w /sys/fs/cgroup/cgroup.procs ] && grep -qw cpu /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then
    top=/sys/fs/cgroup version=2
  else
    top= version=
    for d in /sys/fs/cgroup/cpu /sys/fs/cgroup/cpu,cpuacct; do [ -w "$d/cgroup.procs" ] && [ -f "$d/cpu.cfs_quota_us" ] && top=$d version=1; done
  fi
  [ -n "$top" ] || { skip "the pool honours the quota of a real cgroup (no cgroup with a cpu controller may be made here)"; return; }
  own=$top/etk-test-$$
  mkdir "$own" 2>/dev/null || { skip "the pool honours the quota of a real cgroup (mkdir $own is refused)"; return; }
  if [ $version = 2 ]; then set_quota() { echo "$1 100000" >"$own/cpu.max"; }; else set_quota() { echo 100000 >"$own/cpu.cfs_period_us" && echo "$1" >"$own/cpu.cfs_quota_us"; }; fi
  if set_quota 50000 2>/dev/null; then
    out=$(sh -c "echo \$\$ >'$own/cgroup.procs' && exec '$exe' info --json" 2>"$tmp/err")
    printf '%s' "$out" | jq -e '.results | .cpu_quota == 0.5 and .usable_cores == 1 and .threads == 1 and .container' >/dev/null &&
      ok "the pool honours the quota of a real cgroup (version $version)" || not_ok "the pool honours the quota of a real cgroup (version $version)" "$(printf '%s' "$out" | jq -c '.results | [.cpu_quota, .usable_cores, .threads, .container]')"
  else
    skip "the pool honours the quota of a real cgroup (setting a quota is refused)"
  fi
  rmdir "$own" 2>/dev/null
}
cgroup_test
