"""Adapters: what carries out the ports. Each imports the ports, the errors and its own engine, nothing else."""
