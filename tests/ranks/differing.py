"""The ``nescio`` command in each process of a job, some with other arguments.

``python differing.py '{"1": ["--seed", "5"]}' train DATA --out MODEL``: process 1 gets two more.
"""

import json
import os
import sys

from nescio.cli import main

more = json.loads(sys.argv[1]).get(os.environ["RANK"], [])
sys.exit(main([*sys.argv[2:], *more]))
