"""`python -m lumina_stream` is the command `lumina-stream`."""

import sys

from lumina_stream.cli import main

if __name__ == "__main__":
    sys.exit(main())
