#!/bin/bash
#SBATCH --job-name=kinema
#SBATCH --array=1-16         # so many processes; another number goes on with the same work
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@60     # a minute before its end, a process gives its chunk back
#SBATCH --requeue            # one that was preempted begins again
#SBATCH --output=kinema-%A-%a.log
srun kinema extract --list /data/videos.txt --root /data/videos --out /data/features --shared --threads "$SLURM_CPUS_PER_TASK"
