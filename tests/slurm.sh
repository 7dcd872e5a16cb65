#!/usr/bin/env bash
# Makes this machine a SLURM cluster of one node and runs the tests marked needs_slurm on it; everything is stopped and
# removed at the end. As root, with Debian's slurm-wlm and munge installed: tests/slurm.sh [PYTEST-ARGUMENTS]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null || { echo "no $program: apt-get install slurm-wlm munge"; exit 1; }
done
work=$(mktemp -d)
chmod 755 "$work"
node=$(hostname -s)
stop() {
    for file in "$work"/slurmd.pid "$work"/slurmctld.pid "$work"/munged.pid; do
        if [ -s "$file" ]; then kill "$(cat "$file")" 2>/dev/null || true; fi
    done
    sleep 1
    rm -rf "$work"
}
trap stop EXIT

# munge in a folder of its own, so that one that runs here already is left alone
mkdir -m 700 "$work/munge"
dd if=/dev/urandom of="$work/munge/key" bs=1 count=1024 status=none
chmod 400 "$work/munge/key"
munged --force --key-file="$work/munge/key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed"

mkdir "$work/state" "$work/spool"
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
cat >"$work/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$node
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CredType=cred/munge
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
InactiveLimit=0
KillWait=30
MinJobAge=300
SlurmctldTimeout=120
SlurmdTimeout=120
NodeName=$node CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=low Nodes=$node Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=$node MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
export SLURM_CONF=$work/slurm.conf
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N "$node"
for _ in $(seq 30); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then break; fi
    sleep 1
done
sinfo || { tail -20 "$work"/*.log; exit 1; }
cd "$here"
status=0
"${PYTHON:-.venv/bin/python}" -P -m pytest -m needs_slurm -v --durations=0 "$@" || status=$?
if [ "$status" != 0 ]; then tail -30 "$work"/slurmctld.log "$work"/slurmd.log; fi
exit "$status"
