#!/bin/sh
# Makes the demonstration data: English requests and PowerShell commands, which the embedded bash model has not seen. Our own text, MIT like the project.
#   make_powershell.sh OUT_DIR     writes train.jsonl (640), valid.jsonl (48), test.jsonl (96) and prompts.txt (6 of the test requests)
# Each line is a template with one of several wordings and random slot values; a request appears in one split only. The random numbers are a
# Lehmer generator, so that every awk gives the same files.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT_DIR" >&2; exit 2; }
mkdir -p "$1"
LC_ALL=C awk -v out="$1" '
  function rnd(n) { state = (state * 48271) % 2147483647; return int(state / 2147483647 * n) }
  function pick(list,   parts, n) { n = split(list, parts, " "); return parts[1 + rnd(n)] }
  function fill(s, slots,   name) { for (name in slots) gsub("<" name ">", slots[name], s); return s }
  BEGIN { FS = " => "; state = 20240517 }
  /^@/ { values[substr($1, 2)] = $2; next }
  NF == 2 { english[++count] = $1; shell[count] = $2 }
  END {
    wanted = 640 + 48 + 96
    while (made < wanted) {
      k = 1 + rnd(count)
      n = split(english[k], wording, " / ")
      e = wording[1 + rnd(n)]
      for (name in slots) delete slots[name]
      m = split("dir file ext n word proc svc host days mb user alias", names, " ")
      for (i = 1; i <= m; i++) slots[names[i]] = pick(values[names[i]])
      e = fill(e, slots); c = fill(shell[k], slots)
      if (seen[e]++) continue
      made++
      split_name = made <= 640 ? "train" : made <= 688 ? "valid" : "test"
      gsub(/\\/, "\\\\", c); gsub(/"/, "\\\"", c); gsub(/"/, "\\\"", e)
      print "{\"prompt\": \"" e "\\n$\", \"completion\": \" " c "\"}" > (out "/" split_name ".jsonl")
      if (split_name == "test" && !shown[k]++ && prompts++ < 6) print e > (out "/prompts.txt")
    }
  }' <<'TEMPLATES'
@dir => /var/log /tmp /home/alice/docs /srv/data ./src ./build /etc backup photos reports
@file => notes.txt report.csv config.yaml access.log main.c data.json todo.md users.csv
@ext => txt log csv json py md jpg c
@n => 3 5 10 15 20 25 50 100
@word => error warning TODO password timeout main failed import
@proc => nginx firefox python node sshd mysqld redis java
@svc => nginx ssh docker postgresql cron redis bluetooth cups
@host => example.com localhost 192.168.1.1 10.0.0.5 debian.org github.com
@days => 1 2 7 14 30 90
@mb => 1 5 10 50 100 500
@user => alice bob carol dave
@alias => ll gs dc py
List all files in <dir> / Show the files in <dir> / Display the contents of the folder <dir> => Get-ChildItem -Path <dir>
List all .<ext> files in <dir> / Show every file in <dir> that ends in .<ext> => Get-ChildItem -Path <dir> -Filter *.<ext>
Find all .<ext> files under <dir> / Search for .<ext> files in <dir> and its subfolders => Get-ChildItem -Path <dir> -Filter *.<ext> -Recurse
Find files larger than <mb> MB in <dir> / List files in <dir> bigger than <mb> MB => Get-ChildItem -Path <dir> -Recurse | Where-Object { $_.Length -gt <mb>MB }
Find files in <dir> changed in the last <days> days / List files under <dir> modified within <days> days => Get-ChildItem -Path <dir> -Recurse | Where-Object { $_.LastWriteTime -gt (Get-Date).AddDays(-<days>) }
Delete all .<ext> files in <dir> / Remove every .<ext> file from <dir> => Remove-Item -Path <dir>/*.<ext>
Delete the folder <dir> and everything in it / Remove the directory <dir> recursively => Remove-Item -Path <dir> -Recurse -Force
Show the first <n> lines of <file> / Print the first <n> lines of the file <file> => Get-Content -Path <file> -TotalCount <n>
Show the last <n> lines of <file> / Print the final <n> lines of <file> => Get-Content -Path <file> -Tail <n>
Print the contents of <file> / Show the file <file> / Display <file> => Get-Content -Path <file>
Count the lines of <file> / How many lines does <file> have => (Get-Content -Path <file>).Count
Search for "<word>" in <file> / Find lines containing "<word>" in <file> => Select-String -Path <file> -Pattern <word>
Search for "<word>" in all .<ext> files under <dir> / Find "<word>" in every .<ext> file in <dir> => Get-ChildItem -Path <dir> -Filter *.<ext> -Recurse | Select-String -Pattern <word>
Copy <file> to <dir> / Make a copy of <file> in <dir> => Copy-Item -Path <file> -Destination <dir>
Copy the folder <dir> to /mnt/disk / Copy everything in <dir> to /mnt/disk => Copy-Item -Path <dir> -Destination /mnt/disk -Recurse
Move <file> to <dir> / Put <file> into the folder <dir> => Move-Item -Path <file> -Destination <dir>
Rename <file> to old-<file> / Change the name of <file> to old-<file> => Rename-Item -Path <file> -NewName old-<file>
Create a directory called <word> in <dir> / Make a new folder <word> in <dir> => New-Item -Path <dir>/<word> -ItemType Directory
Create an empty file <file> / Make a new empty file named <file> => New-Item -Path <file> -ItemType File
Show running processes named <proc> / List all <proc> processes => Get-Process -Name <proc>
Kill the process <proc> / Stop all <proc> processes => Stop-Process -Name <proc> -Force
Show the <n> processes that use the most memory / List the top <n> processes by memory => Get-Process | Sort-Object WorkingSet -Descending | Select-Object -First <n>
Start the service <svc> / Start <svc> => Start-Service -Name <svc>
Restart the service <svc> / Restart <svc> => Restart-Service -Name <svc>
Show the status of the service <svc> / Is the service <svc> running => Get-Service -Name <svc>
Ping <host> <n> times / Send <n> pings to <host> => Test-Connection -TargetName <host> -Count <n>
Download http://<host>/<file> / Fetch the file <file> from http://<host>/ => Invoke-WebRequest -Uri http://<host>/<file> -OutFile <file>
Compress <dir> into <word>.zip / Create the archive <word>.zip from <dir> => Compress-Archive -Path <dir> -DestinationPath <word>.zip
Extract <word>.zip to <dir> / Unpack the archive <word>.zip into <dir> => Expand-Archive -Path <word>.zip -DestinationPath <dir>
Print the value of the environment variable <word> / Show the environment variable <word> => $env:<word>
Show the SHA-256 checksum of <file> / Compute the hash of <file> => Get-FileHash -Path <file> -Algorithm SHA256
Sort the lines of <file> and remove duplicates / Print the unique lines of <file> => Get-Content -Path <file> | Sort-Object -Unique
Show the total size of <dir> / How much space does <dir> use => (Get-ChildItem -Path <dir> -Recurse | Measure-Object -Property Length -Sum).Sum
Change to the directory <dir> / Go to the folder <dir> => Set-Location -Path <dir>
TEMPLATES
wc -l "$1"/* >&2
