"""``python -m pml_incremental.benchmarker`` by the name of a file."""

import sys

# This file has the name of the package that it runs, and Python looks in its folder first.
sys.path.append(sys.path.pop(0))

from pml_incremental.benchmarker.__main__ import main

if __name__ == "__main__":
    main()
