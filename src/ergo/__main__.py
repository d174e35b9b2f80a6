"""`python -m ergo`."""

from ergo.cli.main import console

if __name__ == "__main__":
    console()
