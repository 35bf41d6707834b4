"""The engine `snakemake`: Snakemake workflows, each job a task."""
