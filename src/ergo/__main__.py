"""`python -m ergo`."""

import sys

from ergo.cli.main import main

sys.exit(main())
