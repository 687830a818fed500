"""`python -m its`: what the stages of dvc.yaml call, so that a queued experiment runs the code it captured."""

from its.interrupts import end_at_once

if __name__ == "__main__":
    end_at_once()  # the imports below take most of the time of a short command

    from its.cli.main import main

    main()
