"""`python -m fanpulse`."""

from fanpulse.cli import main

if __name__ == "__main__":
    main()
