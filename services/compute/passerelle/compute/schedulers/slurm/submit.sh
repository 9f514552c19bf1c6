# Run by bash on the login node, as `bash -c SCRIPT sbatch OPTION...`; never with a value of a caller in its text.
#
# Says first from which session it submits, which slurmctld keeps with the job (AllocSID), and when; its input comes only
# after that, so that whoever has not heard it knows that nothing was submitted.
# Reads from stdin how many variables the job's environment has, and each as `NAME=value` ended by a NUL, and leaves the
# rest of stdin, the script, to sbatch: neither is ever seen in a process list. They are the job's alone:
# sbatch reads them, after the login's own, as data from a file that has no name any more (it opens it once for each
# component of a heterogeneous job), and runs in the login's environment, as all else here does. What it is told by
# the login's own SBATCH_ variables is the user's wish, but for those that would change what an answer means.
# LC_ALL is our own doing and no business of the job. Our variables have names that no login exports.
# Each process that is started here is time of every submit: without variables it is sbatch alone.
command -v sbatch >/dev/null || { echo "bash: sbatch: command not found" >&2; exit 127; }
read -r passerelle_stat <"/proc/$$/stat"
passerelle_stat=(${passerelle_stat##*) })
printf "session %d %(%s)T\n" "${passerelle_stat[3]}" -1
read -r passerelle_count || exit
passerelle_pairs=()
while [ ${#passerelle_pairs[@]} -lt "$passerelle_count" ]; do
  IFS= read -r -d "" passerelle_pair || exit
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
exec sbatch "$@"
