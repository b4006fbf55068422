"""Overrides the globals of the program that executes this: by files, and by --key=value."""

import sys
from ast import literal_eval

for arg in sys.argv[1:]:
    if "=" not in arg:
        print(f"Overriding config with {arg}:")
        exec(open(arg).read())  # noqa: SIM115
    else:
        key, val = arg.split("=", 1)
        key = key.removeprefix("--")
        if key not in globals():
            raise ValueError(f"Unknown config key: {key}")
        try:
            attempt = literal_eval(val)
        except (SyntaxError, ValueError):
            attempt = val
        if type(attempt) is not type(globals()[key]):
            raise ValueError(f"{key} is a {type(globals()[key])}")
        print(f"Overriding: {key} = {attempt}")
        globals()[key] = attempt
