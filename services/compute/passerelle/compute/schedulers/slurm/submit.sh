# Run by bash on the login node, as `bash -c SCRIPT sbatch OPTION...`; never with a value of a caller in its text.
#
# Reads the variables of the job's environment from stdin, each `NAME=value` ended by a NUL, up to an empty one, and
# leaves the rest of stdin, the script, to sbatch: neither is ever seen in a process list. They are the job's alone:
# sbatch reads them, after the login's own, as data from a file that has no name any more (it opens it once for each
# component of a heterogeneous job), and runs in the login's environment, as all else here does. What it is told by
# the login's own SBATCH_ variables is the user's wish, but for those that would change what an answer means.
# sbatch may hear nothing of a job that slurmctld took (a time-out), and where the queue is full it would try again for
# minutes, after the request has been answered. So it has seven seconds, and when it fails slurmctld is asked once for
# a job that was submitted from this very session: its id is the answer then.
# LC_ALL is our own doing and no business of the job. Our variables have names that no login exports.
set -- "$(type -P sbatch)" "$@"
[ -n "$1" ] || { echo "bash: sbatch: command not found" >&2; exit 127; }
passerelle_pairs=()
while IFS= read -r -d "" passerelle_pair && [ -n "$passerelle_pair" ]; do
  passerelle_pairs+=("$passerelle_pair")
done
unset LC_ALL
if [ ${#passerelle_pairs[@]} -gt 0 ]; then
  passerelle_file=$(mktemp -p /dev/shm 2>/dev/null || mktemp) || exit
  exec 4>"$passerelle_file" 3<"$passerelle_file" && rm -f -- "$passerelle_file" || exit
  (SHLVL=$((SHLVL - 1)); exec env -u _ -0) >&4 && printf "%s\0" "${passerelle_pairs[@]}" >&4 || exit
  exec 4>&-
fi
unset SBATCH_CLUSTERS SBATCH_DEBUG SBATCH_EXPORT SBATCH_WAIT SLURM_CLUSTERS SLURM_DEBUG SLURM_DEBUG_FLAGS
printf -v passerelle_since "%(%s)T" -1
SHLVL=$((SHLVL - 1)) timeout --foreground -k 1 7 "$@"
passerelle_status=$?
[ "$passerelle_status" -ne 0 ] || exit 0
exec </dev/null 3<&-
unset LC_ALL ${!SQUEUE_@}
export LC_ALL=C SLURM_TIME_FORMAT=%s
passerelle_stat=$(<"/proc/$$/stat")
set -- ${passerelle_stat##*) }
timeout --foreground -k 1 2 squeue --me --noheader --all --states=all \
  --Format=JobArrayID:40,AllocSID:20,SubmitTime:20 2>/dev/null |
  awk -v sid="$4" -v since="$((passerelle_since - 60))" \
    '$2 == sid && $3 >= since { split($1, id, /[_+]/); if (found != id[1]) many += 1; found = id[1] }
     END { if (many == 1) print found; exit many != 1 }' || exit "$passerelle_status"
