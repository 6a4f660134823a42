"""`python -m flows` and the program `ceramic-order`."""

from typing import NoReturn

from flows.terminal.signals import install


def main() -> NoReturn:
    """Run the command line, deaf to no signal from the first moment on."""
    install()
    from flows.cli.main import main as command_line  # noqa: PLC0415 # loading it takes 70 ms

    command_line()


if __name__ == "__main__":
    main()
