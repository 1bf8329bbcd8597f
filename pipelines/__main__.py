"""`python -m pipelines` is the `apportion` command."""

from pipelines.cli import main

main()
