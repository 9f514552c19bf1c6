# Run by sh on the login node, as `sh -c SCRIPT squeue SESSION HOST SQUEUE...`: which jobs are there, once a process
# session that was told to end has ended? Its leader ends last, together with all that is left of it; where nobody takes
# notice of its end, it stays as a zombie.
#
# Prints what squeue does, and a line `ENDED SLURMCTLD LOGIN`: `yes` if the session had ended before squeue asked, and `no`
# also where this is another login node than the session's; then the clocks of slurmctld and of this node, in seconds of
# the epoch. `scontrol show config` begins with slurmctld's (SLURM_TIME_FORMAT makes it a number).
running() {
  read -r stat <"/proc/$1/stat" || return
  case ${stat##*) } in [XZ]*) return 1 ;; esac
} 2>/dev/null
tries=0
while running "$1" && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
read -r host </proc/sys/kernel/hostname
ended=yes
if running "$1" || [ "$host" != "$2" ]; then ended=no; fi
shift 2
"$@" || exit
echo "$ended $(scontrol show config | sed -n "s/^Configuration data as of //p") $(date +%s)"
