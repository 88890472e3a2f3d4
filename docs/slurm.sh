#!/bin/bash
#SBATCH --job-name=jaxloss
#SBATCH --ntasks=9              # a scheduler and eight workers
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=1G
#SBATCH --time=04:00:00
#SBATCH --requeue               # after a requeue the sweep goes on where it stopped

# On a file system that all nodes see; so is the environment with jaxloss[distributed].
OUT=$SLURM_SUBMIT_DIR/$SLURM_JOB_NAME
ADDRESS=$OUT.scheduler.json
rm -f "$ADDRESS"

srun --ntasks=1 --exact dask scheduler --scheduler-file "$ADDRESS" &
# One process a task: it uses all cores that it was given.
srun --ntasks=8 --exact dask worker --scheduler-file "$ADDRESS" --nworkers 1 --nthreads 1 --memory-limit 0 &

until [ -s "$ADDRESS" ]; do sleep 1; done
SCHEDULER=$(python -c "import json, sys; print(json.load(open(sys.argv[1]))['address'])" "$ADDRESS")
jaxloss sweep "$SLURM_SUBMIT_DIR/spec.toml" --out "$OUT" --scheduler "$SCHEDULER"
kill %1 %2
