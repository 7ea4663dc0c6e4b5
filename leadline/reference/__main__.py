"""``python -m leadline.reference``: write the pages; ``--check``: only say which are stale."""

import sys

from leadline.reference import DEFAULT_FOLDER, stale, write

if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        write(DEFAULT_FOLDER)
    elif out_of_date := stale(DEFAULT_FOLDER):
        sys.exit(f"stale: {', '.join(out_of_date)}; run python -m leadline.reference")
