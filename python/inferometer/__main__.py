"""``python -m inferometer``: the program itself."""

import os
import sys

from ._process import binary

if __name__ == "__main__":
    os.execv(binary(), ["inferometer", *sys.argv[1:]])
