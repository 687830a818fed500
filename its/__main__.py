"""`python -m its`: what the stages of dvc.yaml call, so that a queued experiment runs the code it captured."""

from its.cli.main import main

if __name__ == "__main__":
    main()
