"""The command line with so little memory that two hundred waiting events are too many to keep."""

from flows.terminal.signals import take_over_signals

if __name__ == "__main__":
    take_over_signals()
    # signals are taken over before a library starts a thread
    from flows.cli.main import main
    from tests.crash.miniature import DEFAULTS

    main(DEFAULTS)
