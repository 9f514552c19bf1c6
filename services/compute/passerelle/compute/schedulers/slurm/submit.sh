# Run by bash on the login node, as `bash -c SCRIPT sbatch OPTION...`; never with a value of a caller in its text.
#
# Says first from which session it submits, which slurmctld keeps with the job (AllocSID), on which node, and when; its
# input comes only after that, so that whoever has not heard it knows that nothing was submitted.
# Reads the variables of the job's environment from stdin, each `NAME=value` as `=LINE`, with `,LINE` before it for lines
# that go on, up to a `.`, and leaves the rest of stdin, the script, to sbatch: neither is ever seen in a process list.
# No NUL stands there, so that a short input costs no process on its way. The variables are the job's alone:
# sbatch reads them, after the login's own, as data from a file that has no name any more (it opens it once for each
# component of a heterogeneous job), and runs in the login's environment, as all else here does. What it is told by
# the login's own SBATCH_ variables is the user's wish, but for those that would change what an answer means.
# LC_ALL is our own doing and no business of the job. Our variables have names that no login exports.
# What bash can do itself no process is started for: each is time of every submit.
command -v sbatch >/dev/null || { echo "bash: sbatch: command not found" >&2; exit 127; }
read -r passerelle_stat <"/proc/$$/stat"
passerelle_stat=(${passerelle_stat##*) })
read -r passerelle_host </proc/sys/kernel/hostname
printf "session %d %s %(%s)T\n" "${passerelle_stat[3]}" "$passerelle_host" -1
passerelle_pairs=()
passerelle_pair=
while IFS= read -r passerelle_line || exit; do
  case $passerelle_line in
    ,*) passerelle_pair+=${passerelle_line#?}$'\n' ;;
    =*) passerelle_pairs+=("$passerelle_pair${passerelle_line#?}") passerelle_pair= ;;
    *) break ;;
  esac
done
unset LC_ALL
if [ ${#passerelle_pairs[@]} -gt 0 ]; then
  passerelle_file=$(mktemp -p /dev/shm 2>/dev/null || mktemp) || exit
  exec 4>"$passerelle_file" 3<"$passerelle_file" && rm -f -- "$passerelle_file" || exit
  while IFS= read -r -d "" passerelle_pair; do
    case $passerelle_pair in _=* | LC_ALL=*) ;; *) printf "%s\0" "$passerelle_pair" ;; esac
  done <"/proc/$$/environ" >&4 && printf "%s\0" "${passerelle_pairs[@]}" >&4 || exit
  exec 4>&-
fi
unset SBATCH_CLUSTERS SBATCH_DEBUG SBATCH_EXPORT SBATCH_WAIT SLURM_CLUSTERS SLURM_DEBUG SLURM_DEBUG_FLAGS
exec sbatch "$@"
