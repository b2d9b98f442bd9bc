import sys
from pathlib import Path

# For the module here that is no test.
sys.path.append(str(Path(__file__).parent))
