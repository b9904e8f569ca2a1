"""`python -m fqconsole` is the command line."""

import sys

from fqconsole.cli import main

sys.exit(main())
