"""The expander: Snakemake in a process of its own, which knows no file, no network and no secret.

It runs in the engine's locked environment, shut up in a sandbox, so it imports Snakemake, the standard
library, and of ours what `inside` has. Its working directory is in memory, at the place that it has in the
tasks, too. There are the files of the request, and stand-ins for what jobs have made: they have the size of
what they stand for, and get its content from the server when a Snakefile opens them (`workspace.py`).

It may be killed at any moment and started again: Snakemake begins anew, in an empty directory, and comes to
the same jobs, whose steps have the same keys (`keys.py`).
"""

WORKDIR = "/var/spool/snakemake"
"""Snakemake's working directory, in the sandbox and in every task."""
