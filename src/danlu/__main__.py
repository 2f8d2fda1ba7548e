"""`python -m danlu` is `danlu`."""

import sys

try:
    from danlu.cli import main
except KeyboardInterrupt:  # Ctrl-C while Python was still reading
    sys.exit(130)

if __name__ == "__main__":
    main()
