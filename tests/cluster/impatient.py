"""Snakemake that asks Slurm every second; the plugin asks less often while nothing ends."""

import signal
import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, value: None)

if __name__ == "__main__":
    # Shells let what they start in the background ignore Ctrl-C, and its children with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
