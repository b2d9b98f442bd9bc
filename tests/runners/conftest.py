import sys
from pathlib import Path

# Last, as a script there has the name of a package.
sys.path.append(str(Path(__file__).parents[2] / "runners"))
