"""`python -m flows`: the program `ceramic-order`."""

from ceramic_order import main

if __name__ == "__main__":
    main()
