"""`python -m anomaly_bench` is the command line."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:  # the working folder is first: the last place to look, not to hide a library by html.py
        sys.path.append(sys.path.pop(0))
    from .cli.main import main

    sys.exit(main())
