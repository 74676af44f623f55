#!/usr/bin/env bash
# The tests of engine=slurm on a real SLURM of one node. It is started on loopback, beside any that is there, with ports, keys
# and files of its own in a temporary folder, and stopped at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
LIMIT=${LIMIT:-900}  # seconds that the tests may take
PATH=$PATH:/usr/sbin:/sbin

skip() { echo "SKIPPED, engine=slurm IS NOT TESTED: $1" >&2; [ -z "${CI:-}" ]; exit; }  # in CI that is a failure

for program in slurmctld slurmd munged; do
  command -v "$program" >/dev/null || skip "there is no $program here; apt-get install slurm-wlm munge"
done

PLACE=$(mktemp -d)
chmod 755 "$PLACE"
export SLURM_CONF=$PLACE/slurm.conf

stop() {
  local code=$?
  trap '' HUP INT TERM
  if [ "$code" != 0 ]; then
    find "$PLACE" \( -name 'slurm*.log' -o -name run.log -o -name '*_log.err' -o -name output \) -exec tail -vn 20 {} + >&2
  fi
  for signal in TERM KILL; do  # all that was started here has the name of the folder in its environment: daemons, jobs, tests
    for process in $(grep -lsF "$PLACE" /proc/[0-9]*/environ); do
      kill -s "$signal" "$(basename "${process%/environ}")" 2>/dev/null || true
    done
    sleep 1
  done
  rm -rf "$PLACE"
}
trap stop EXIT
trap 'exit 130' HUP INT TERM

read -r CONTROLLER NODE < <("$PY" -c "
import socket
held = [socket.create_server(('127.0.0.1', 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in held))")
CORES=$(nproc)
mkdir "$PLACE/ctld" "$PLACE/d"
cat > "$SLURM_CONF" <<CONF
ClusterName=local
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$CONTROLLER
SlurmdPort=$NODE
AuthType=auth/munge
# The second half is how long a job that is queued again waits, which is two minutes otherwise.
AuthInfo=socket=$PLACE/munge.socket,cred_expire=5
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
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
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
KillWait=3
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
NodeName=localhost NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$((CORES > 2 ? CORES : 2)) State=UNKNOWN
PartitionName=debug Nodes=localhost Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=localhost MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF
CONF
(umask 077; head -c 1024 /dev/urandom > "$PLACE/munge.key")
start() {
  munged --key-file="$PLACE/munge.key" --socket="$PLACE/munge.socket" --pid-file="$PLACE/munged.pid" \
    --log-file="$PLACE/munged.log" --seed-file="$PLACE/munged.seed" && slurmctld -c && slurmd -N localhost
} >"$PLACE/start" 2>&1
start || skip "SLURM does not start here: $(tail -n 1 "$PLACE/start")"
idle() { [ "$(sinfo -h -p debug -o %t 2>/dev/null)" = idle ]; }
for _ in $(seq 100); do idle && break; sleep 0.2; done
idle || skip "SLURM was started and is not ready after 20 seconds: $(tail -n 1 "$PLACE/slurmctld.log")"

SLURM_TEST=1 timeout --kill-after=10 "$LIMIT" "$PY" -m pytest -m slurm --durations=5 --basetemp="$PLACE/tests" \
  tests/anomaly_bench/sweep/engines/test_slurm.py &
wait $!
