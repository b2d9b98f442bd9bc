"""Run configs one after another; what each prints, and its exit code, is in files beside it."""

import os
import sys

from pml_incremental.cli import main

if __name__ == "__main__":
    for file in sys.argv[1:]:
        with open(f"{file}.{os.environ['RANK']}.txt", "w") as text:
            os.dup2(text.fileno(), 1)
            os.dup2(text.fileno(), 2)
            code = main(["run", file, "--quiet"])
            print(f"exit code {code}", flush=True)
