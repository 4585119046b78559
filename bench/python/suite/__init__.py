# SPDX-License-Identifier: MIT
"""The parts of the Python benchmark; `../run.py` is the way in."""
