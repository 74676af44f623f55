#!/usr/bin/env bash
# The tests of engine=slurm on a real SLURM of one node: the one that answers here, or else one that this script installs
# (Debian and Ubuntu, as root) and starts on loopback, with all its files in a temporary folder, and stops at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}

skip() { echo "SKIPPED, engine=slurm IS NOT TESTED: $1" >&2; exit 0; }

if ! sinfo >/dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || skip "no SLURM answers, and only root can start one"
  if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    command -v apt-get >/dev/null || skip "no SLURM here, and no apt-get to install it"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge; } \
      >/dev/null 2>&1 || skip "slurm-wlm could not be installed"
  fi
  PLACE=$(mktemp -d)
  MUNGE=""
  export SLURM_CONF=$PLACE/slurm.conf
  stop() {
    for name in slurmd slurmctld; do kill "$(cat "$PLACE/$name.pid" 2>/dev/null)" 2>/dev/null || true; done
    sleep 2
    [ -z "$MUNGE" ] || kill "$(cat /run/munge/munged.pid)" 2>/dev/null || true
    rm -rf "$PLACE"
  }
  trap stop EXIT
  mkdir "$PLACE/ctld" "$PLACE/d"
  cat > "$SLURM_CONF" <<CONF
ClusterName=local
SlurmctldHost=localhost
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$PLACE/ctld
SlurmdSpoolDir=$PLACE/d
SlurmctldPidFile=$PLACE/slurmctld.pid
SlurmdPidFile=$PLACE/slurmd.pid
SlurmctldLogFile=$PLACE/slurmctld.log
SlurmdLogFile=$PLACE/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
MinJobAge=300
KillWait=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=localhost NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=debug Nodes=localhost Default=YES MaxTime=INFINITE State=UP
CONF
  mkdir -p /run/munge && chown munge:munge /run/munge && chmod 755 /run/munge
  if ! pgrep -u munge -x munged >/dev/null; then
    runuser -u munge -- munged
    MUNGE=ours
  fi
  slurmctld -c
  slurmd -N localhost
  for _ in $(seq 100); do [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && break; sleep 0.2; done
  [ "$(sinfo -h -o %t)" = idle ] || skip "SLURM was installed and does not come up: $(tail -n 1 "$PLACE/slurmctld.log")"
fi
"$PY" -m pytest -m slurm tests/anomaly_bench/test_slurm.py
