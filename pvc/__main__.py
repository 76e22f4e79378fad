"""`python -m pvc`."""

from pvc.cli import main

if __name__ == "__main__":
    main()
