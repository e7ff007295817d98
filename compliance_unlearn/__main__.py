"""`python -m compliance_unlearn` is `cu`."""

from compliance_unlearn.cli.main import main

if __name__ == "__main__":
    main()
