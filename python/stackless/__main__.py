"""python -m stackless info: every setting and where it comes from."""

import sys

USAGE = "usage: python -m stackless info"


def info():
    import platform

    from . import __version__, _stackless

    print(f"stackless-mn {__version__} on {platform.python_implementation()} "
          f"{platform.python_version()}")
    rows = _stackless._settings()
    name_width = max(len(name) for name, _, _ in rows)
    value_width = max(len(str(value)) for _, value, _ in rows)
    for name, value, origin in rows:
        print(f"{name:<{name_width}}  {value!s:>{value_width}}  {origin}")


def main(arguments):
    if arguments != ["info"]:
        print(USAGE, file=sys.stderr)
        return 2
    info()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
