"""A line per check; the first that fails ends the program."""

import sys


def check(name, condition, detail):
    print("ok  " if condition else "FAIL", f"Python: {name}: {detail}")
    if not condition:
        sys.exit(1)


def raised(kind, work):
    """The error that `work` must raise."""
    try:
        result = work()
    except kind as error:
        return error
    check(kind.__name__, False, f"no error, but {result}")


def events(generation):
    found = []
    while (event := generation.next()) is not None:
        found.append(event)
    return found


def text(generation):
    return "".join(event.text for event in events(generation))
