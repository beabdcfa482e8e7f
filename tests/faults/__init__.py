"""What must hold when things go wrong: real processes, real signals, real disks that fail.

Each test names, in a comment `breaks:`, a one-line change of the code that turns it red. The short
form runs everywhere; `LUMINA_FAULTS=long` asks for the form whose figures are published.
"""
