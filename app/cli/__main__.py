"""Runs the command line as `python -m app.cli`, like the script `halftime`."""

# A spawned child process imports this file again under another name.
if __name__ == "__main__":
    from app.cli import main

    main()
